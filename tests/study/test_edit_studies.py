"""The studies of editors, masks, times, premises and captions: what each claim hangs on."""

import itertools

import numpy as np
import pytest

from noisespace.study import captions, coupled, editors, masks, premises, times
from noisespace.study.claims import FAILS, HOLDS, OPEN, combined
from noisespace.study.complexity import ONE, PROMPTS, edits_of
from noisespace.study.frontier import ahead, best, lead
from noisespace.study.source_captions import (
    ALONE,
    BOTH,
    FULL,
    NAMES,
    OTHER,
    WITHOUT,
    naming,
    source,
    target,
)
from noisespace.study.two_objects import iou, share_inside, two_object_edits


def verdicts(numbers: dict) -> dict[str, str]:
    """The verdict of every part of every claim."""
    return {one["part"]: one["verdict"] for one in numbers["claims"]}


def scored(image: int, **scores: float) -> dict:
    """A row's scores, a little apart from image to image."""
    usual = {"truth": 20.0, "outside": 30.0, "asked": 1.0, "other": 1.0}
    return {"image": image, "kind": "colour"} | {
        k: v + 0.01 * (image % 3) for k, v in (usual | scores).items()
    }


def test_fronts_are_compared_not_the_settings_that_nobody_would_take():
    x, y = np.array([1.0, 2.0, 3.0]), np.array([0.2, 0.9, 0.5])
    assert best(x, y, np.array([0.0, 2.0, 2.5, 3.5])).tolist() == [0.9, 0.9, 0.5, -np.inf]
    assert lead(x, y, x, y) == 0
    assert lead(x, y + 0.1, x, y) == pytest.approx(0.1)
    # from 1 to 2 a reaches .9 and b .4: its own .9 keeps no more than 1
    assert lead(x, y, np.array([1.0, 2.0]), np.array([0.9, 0.4])) == pytest.approx(0.5)
    # a setting worse in both does not lower a front
    assert lead(np.append(x, 0.5), np.append(y, 0.0), x, y) == 0
    # one that keeps less at every setting is compared too: what beats it keeps more besides
    far = np.array([5.0, 6.0]), np.array([0.9, 0.8])
    near = np.array([1.0, 2.0]), np.array([0.5, 0.4])
    assert lead(*far, *near) == pytest.approx(0.5)
    assert lead(*near, *far) == pytest.approx(-0.5)
    rows = [
        {"setting": s, "image": i, "x": s, "y": t + 0.1 * (i % 2)}
        for s, t in zip(x, y, strict=True)
        for i in range(20)
    ]
    lower = [{**row, "y": row["y"] - 0.3} for row in rows]
    found = ahead(rows, lower, "x", "y")
    assert (found["low"], found["mean"], found["high"]) == pytest.approx((0.3, 0.3, 0.3))
    assert ahead(rows, [{**r, "x": r["x"] + 1} for r in lower], "x", "y", -1)["mean"] > 0.3


@pytest.mark.parametrize("swap", [False, True])
def test_editors_can_fail(swap):
    does = {"outside": 60.0, "truth": 20.0, "asked": 0.0, "lpips": None, "alignment": None}
    rows = [{"editor": "none", "does": d, **does} for d in ("input", "autoencoder")]
    codes = ("ddim", "edit-friendly, skip 0.12", "edit-friendly, skip 0.36")
    for editor, code, w in itertools.product((editors.P2P, editors.ZERO), codes, (1.0, 2.0, 4.0)):
        better = (code != "ddim") != swap
        head = {"editor": editor, "code": code, "setting": w, "lpips": None, "alignment": None}
        for i in range(editors.LEAST[editor]):
            found = {"outside": 30 - 2 * w + 3 * better, "asked": 0.2 * w - 0.05 * better}
            rows.append({**scored(i, **found), **head})
    found = editors.summarise(rows)
    expected = FAILS if swap else HOLDS
    assert verdicts(found) == {editors.P2P: expected, editors.ZERO: expected}
    few = [row for row in rows if row.get("image", 0) < 19]
    assert set(verdicts(editors.summarise(few)).values()) == {OPEN}


def mask_rows(simple: float, complicated: float, gain: float, n: int = 20) -> list[dict]:
    """Rows of the masks' study: IoU under simple prompts and others, dB gained outside."""
    return [
        {
            **scored(i, outside=30.0 + gain),
            **{"outside without": 30.0, "truth without": 20.0, "area": 0.1, "true area": 0.1},
            **{"prompts": name, masks.best(): (simple if name == ONE else complicated) + 0.01 * i},
        }
        for name in PROMPTS
        for i in range(n)
    ]


def test_masks_can_fail_in_every_part():
    finds, protects, *worse = verdicts(masks.summarise(mask_rows(0.6, 0.4, 2.0))).values()
    assert (finds, protects, *worse) == (HOLDS,) * 5
    assert verdicts(masks.summarise(mask_rows(0.1, 0.05, 2.0)))["finds the region"] == FAILS
    assert verdicts(masks.summarise(mask_rows(0.6, 0.4, -1.0)))["protects the rest"] == FAILS
    same = verdicts(masks.summarise(mask_rows(0.6, 0.7, 2.0)))
    assert [v for part, v in same.items() if "worse" in part] == [FAILS] * 3
    assert set(verdicts(masks.summarise(mask_rows(0.6, 0.4, 2.0, 19))).values()) == {OPEN}


def test_prompts_differ_in_what_they_say_and_in_nothing_else():
    every = {name: edits_of(name, 6, 0) for name in PROMPTS}
    for i in range(6):
        first = [every[name][i] for name in PROMPTS]
        assert len({edit.scene.objects[0] for edit in first}) == 1
        assert all((edit.touched == first[0].touched).all() for edit in first)
        for name, edit in zip(PROMPTS, first, strict=True):
            assert len(edit.scene.objects) == (1 if "one object" in name else 2)
            before, after = edit.scene.objects[0], edit.truth.objects[0]
            changed = [
                k for k in ("colour", "shape", "texture") if vars(before)[k] != vars(after)[k]
            ]
            assert len(changed) == (1 if "one change" in name else 2)
            assert edit.truth.objects[1:] == edit.scene.objects[1:]


@pytest.mark.parametrize(("slow", "expected"), [(40.0, HOLDS), (1.1, FAILS)])
def test_times_can_fail(slow, expected):
    seconds = dict.fromkeys(times.WAYS, 1.0) | dict.fromkeys(times.SLOWER, slow)
    rows = [
        {"image": i, "method": name, "seconds": s * (1 + 0.1 * i), "evaluations": 100, "steps": 50}
        | {"inversion seconds": s * (1 + 0.1 * i)}
        for i in range(4)
        for name, s in seconds.items()
    ]
    assert verdicts(times.summarise(rows)) == dict.fromkeys((*times.SLOWER, "speed"), expected)
    few = [row for row in rows if row["image"] < times.LEAST - 1]
    assert set(verdicts(times.summarise(few)).values()) == {OPEN}


def premise_rows(adjacent: float, nearer: bool, worse: float, n: int = 12) -> list[dict]:
    """Rows of the premises' study: distances by step, and how much worse the edits are."""
    rows: list[dict] = []
    for i in range(n):
        wide = 0.01 * (i % 3)
        along = {"adjacent": adjacent + wide / 10, "level": 0.2, "stranger": 1.4, "guidance": 0.2}
        head = {k: [v] * 20 for k, v in along.items()}
        rows.append({"what": "pivot", "image": i, **head})
        for w, name in itertools.product((7.5, 1.5), (premises.NULL, premises.ADAM)):
            far, near = [0.2 + wide] * 20, [0.1] * 20
            null = {"text": near if nearer else far, "empty": far if nearer else near}
            rows.append({"what": "null", "method": name, "w": w, "image": i, **null})
        for w, name in itertools.product((7.5, 1.5), premises.METHODS):
            less = worse * (1 + wide) if name == premises.NEGATIVE else 0.0
            for editor in premises.EDITORS:
                edit = {"what": "edit", "method": name, "w": w, "editor": editor, "seconds": 1.0}
                rows.append({**edit, **scored(i, truth=20.0 - less)})
        for name in ("input", "autoencoder"):
            rows.append({"what": "edit", "method": name, **scored(i)})
    return rows


def test_premises_can_fail_in_every_part():
    assert list(verdicts(premises.summarise(premise_rows(0.01, True, 0.0))).values()) == [HOLDS] * 3
    bad = (
        premise_rows(0.3, True, 0.0),
        premise_rows(0.01, False, 0.0),
        premise_rows(0.01, True, 2),
    )
    for part, rows in enumerate(bad):
        found = list(verdicts(premises.summarise(rows)).values())
        assert [v == FAILS for v in found] == [part == j for j in range(3)]
    few = premises.summarise(premise_rows(0.01, True, 0.0, premises.LEAST - 1))
    assert combined(few["claims"]) == {"C20": OPEN}


def caption_rows(full: float, alone: float, looks: float, n: int = 12) -> list[dict]:
    """Rows of the captions' study: PSNR and attention under captions that name the object."""
    rows: list[dict] = []
    for way, name, i in itertools.product(captions.WAYS, NAMES, range(n)):
        truth = full if name == FULL else alone if name == ALONE else 20.0
        maps = dict.fromkeys(captions.MAPS, (looks if name == FULL else 0.1) + 0.001 * i)
        head = {"inversion": way[0], "editor": way[1], "caption": name, "area": 0.1, "touched": 0.1}
        rows.append({**head, **maps, **scored(i, truth=truth + 0.01 * (i % 2))})
    for name in ("input", "autoencoder"):
        rows += [{"inversion": name, **scored(i)} for i in range(n)]
    return rows


def test_captions_can_fail_in_every_part():
    good = verdicts(captions.summarise(caption_rows(25.0, 23.0, 0.3)))
    assert list(good.values()) == [HOLDS] * 3
    for part, settings in enumerate(((25.0, 23.0, 0.05), (19.0, 23.0, 0.3), (25.0, 19.0, 0.3))):
        found = list(verdicts(captions.summarise(caption_rows(*settings))).values())
        assert [v == FAILS for v in found] == [part == j for j in range(3)]
    few = captions.summarise(caption_rows(25.0, 23.0, 0.3, captions.LEAST - 1))
    assert combined(few["claims"]) == {"C21": OPEN}


def test_source_captions_name_what_they_say_they_name():
    for edit in two_object_edits(12, kinds=captions.KINDS):
        thing, other = edit.scene.objects
        words = {name: source(name, edit).split() for name in NAMES}
        for name in WITHOUT:
            # the other object may share a word with the edited one, never all of them
            assert not {thing.colour, thing.shape} <= set(words[name])
        assert {thing.shape, other.shape} <= set(words[FULL])
        assert other.colour not in words[ALONE] or other.colour in (thing.colour,)
        assert source(OTHER, edit) != source(ALONE, edit)
        assert target(FULL, edit) == edit.truth.caption
        assert len(target(BOTH, edit)) < len(target(FULL, edit))
        noun = naming(FULL, edit)
        assert (noun is None) == (thing.shape == other.shape)


def test_places_are_compared_on_the_coarser_grid():
    mask = np.zeros((64, 64), np.float32)
    mask[:32, :32] = 1
    found = np.zeros((16, 16), bool)
    found[:8, :8] = True
    assert iou(mask, found) == 1
    assert iou(mask, ~found) == 0
    assert iou(mask, np.ones((16, 16), bool)) == pytest.approx(0.25)
    assert share_inside(np.ones((8, 8)), mask) == pytest.approx(0.25)
    assert share_inside(found.astype(float), mask) == 1


def coupled_rows(error: float, evaluations: float, failed: bool = False) -> list[dict]:
    """Rows of the coupled inversions' study."""
    rows: list[dict] = []
    for dtype, name, i in itertools.product(coupled.DTYPES, coupled.METHODS, range(3)):
        head = {"part": "replay", "dtype": dtype, "method": name, "image": i, "guidance": 3.0}
        broken = failed and name == "edict" and i == 0
        rows.append({**head, "failed": broken, "max": None if broken else error})
    for name, i in itertools.product(coupled.METHODS, range(3)):
        count = evaluations if name == "edict" else 100.0
        rows.append({"part": "edit", "method": name, "evaluations": count, **scored(i)})
    return rows


def test_coupled_can_fail_in_every_part():
    good = verdicts(coupled.summarise(coupled_rows(1e-10, 200.0)))
    assert list(good.values()) == [HOLDS] * 2
    assert verdicts(coupled.summarise(coupled_rows(1e-5, 200.0)))["exact"] == FAILS
    assert verdicts(coupled.summarise(coupled_rows(1e-10, 200.0, True)))["exact"] == FAILS
    dear = verdicts(coupled.summarise(coupled_rows(1e-10, 300.0)))
    assert list(dear.values()) == [HOLDS, FAILS]
