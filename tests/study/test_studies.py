"""Every study runs on the embedded model and writes its files; every check of a claim can fail."""

import json

import numpy as np
import pytest
from matplotlib.text import Text

import noisespace as ns
from noisespace.models.loading import EMBEDDED
from noisespace.study import (
    STUDIES,
    captions,
    coupled,
    diversity,
    editors,
    exactness,
    fixed_maps,
    gaussian,
    load,
    masks,
    null_text,
    operations,
    premises,
    reconstruction,
    sampling,
    skip_guidance,
    statistics,
    times,
    trade_off,
)
from noisespace.study.budget import Budget
from noisespace.study.claims import ENOUGH, FAILS, HOLDS, OPEN, combined
from noisespace.study.finding import save
from noisespace.study.kept import Kept

needs_scenes = pytest.mark.skipif(
    not (EMBEDDED["scenes"] / "model_index.json").is_file(), reason="no embedded model yet"
)
TINY = {
    gaussian: gaussian.QUICK,
    statistics: statistics.Plan(2, 4),
    operations: operations.Plan(2, 4, (8,), (0.1,), (0.5,)),
    fixed_maps: fixed_maps.Plan(3, 8),
    reconstruction: reconstruction.Plan(
        1, (2,), (4,), 2, (1.0, 3.0), 2, (8,), False, ((1.0,), (4,), (0.25,), (3.0,))
    ),
    null_text: null_text.Plan(1, 3, iterations=(1,), fewer=(1,), left=1),
    skip_guidance: skip_guidance.Plan(2, 4, (0.0, 0.5), (1.0, 2.0)),
    diversity: diversity.Plan(1, 2, 4),
    trade_off: trade_off.Plan(2, 4, (0.0, 0.25, 0.5), (1.0, 2.0, 3.0), *[(0.5, 0.75, 1.0)] * 2),
    editors: editors.Plan(2, 4, (0.25,), (1.0, 2.0, 4.0), 1),
    coupled: coupled.Plan(1, 1, (4,), (1.0, 3.0)),
    masks: masks.Plan(2, 4, (0.3,)),
    times: times.Plan(1, 0.1, {n: times.WAYS[n] for n in (*times.FAST, *times.SLOWER)}),
    premises: premises.Plan(2, 3, (7.5,)),
    captions: captions.Plan(2, 3),
}
MODULES = dict(zip(STUDIES, TINY, strict=True))


@pytest.fixture(scope="module")
def model():
    return ns.load("scenes", device="cpu")


@needs_scenes
@pytest.mark.parametrize("name", STUDIES)
def test_every_study_writes_all_its_files(name, model, tmp_path, monkeypatch):
    module = MODULES[name]
    assert module.__name__.endswith(name.replace("-", "_"))
    monkeypatch.setattr(module, "QUICK", TINY[module])
    found = load(name)(model, Budget(quick=True, kept=Kept(tmp_path / name, {})))
    save(found, tmp_path)
    files = {path.name for path in (tmp_path / name).iterdir()}
    drawn = {f"{figure}.{kind}" for figure in found.figures for kind in ("png", "svg")}
    assert files - {"pictures"} == {"numbers.json", "rows.csv", "rows.jsonl", *drawn}
    assert len(found.figures) >= 2
    numbers = json.loads((tmp_path / name / "numbers.json").read_text())
    assert numbers["n"] >= 1
    assert numbers["claims"]
    for one in numbers["claims"]:
        assert set(one) == {"id", "part", "verdict", "rule", "words", "numbers", "n"}
        assert one["verdict"] in (HOLDS, FAILS, OPEN)
        assert one["id"][0] == "C"
        assert one["rule"]
        assert one["numbers"]
    for made in found.figures.values():
        texts = [t for t in made.findobj(Text) if t.get_visible() and t.get_text().strip()]
        assert min(t.get_fontsize() for t in texts) >= 9
    # drawn anew from the rows alone: no network runs
    monkeypatch.setattr(type(model), "denoise", lambda *_: pytest.fail("measured again"))
    again = load(name)(model, Budget(quick=True, kept=Kept(tmp_path / name, {}, resume=True)))
    assert again.rows == found.rows
    assert set(again.figures) == set(found.figures)


def verdicts(numbers: dict) -> dict[str, str]:
    """The verdict of every claim, over its parts."""
    return combined(numbers["claims"])


def rows_of(key: str, means: dict, by: str = "method", n: int = 4) -> list[dict]:
    """Rows with these means by method, a little apart from image to image."""
    return [
        {by: method, "image": i, key: value * (1 + 0.01 * i)}
        for method, value in means.items()
        for i in range(n)
    ]


def test_gaussian_can_fail():
    rng = np.random.default_rng(0)

    def rows(native, ours):
        count = {"native": native, "edit-friendly": ours}
        head = {"what": "angles", "walks": 3000, "steps": 3, "step": 0}
        return [
            {**head, "kind": kind, "count": int(n)}
            for kind, found in count.items()
            for n in np.histogram(found, gaussian.BINS, (0, 180))[0]
        ]

    flat, opposed = 180 * rng.random(9000), 180 * np.sqrt(rng.random(9000))
    for native, ours, holds in ((flat, opposed, HOLDS), (flat, flat, FAILS)):
        assert verdicts(gaussian.summarise(rows(native, ours))) == {"C9": holds}
    assert verdicts(gaussian.summarise(rows(opposed, opposed))) == {"C9": FAILS}
    few = [{**row, "walks": 9} for row in rows(flat, opposed)]
    assert verdicts(gaussian.summarise(few)) == {"C9": OPEN}


@pytest.mark.parametrize("swap", [False, True])
def test_operations_can_fail(swap):
    ours, other = (20.0, 30.0) if swap else (30.0, 20.0)
    psnr = {"edit-friendly": ours, "cycle-diffusion, eta 1": other, "native": other}
    rows = [{**r, "what": "shift", "shift": 8} for r in rows_of("psnr", psnr, "kind")]
    for kind in operations.PAINTS:
        good = (kind == "color-edit") != swap
        for i in range(ENOUGH):
            head = {"what": "colour", "kind": kind, "setting": 0.1, "truth": 20.0, "image": i}
            head |= {"outside": 30.0 + 5 * good, "all": good}
            rows += [{**head, "colour": True, "texture": good}]
    expected = FAILS if swap else HOLDS
    assert verdicts(operations.summarise(rows)) == {"C10": expected, "C11": expected}
    few = [r for r in rows if r["image"] < (2 if r["what"] == "shift" else ENOUGH - 1)]
    assert verdicts(operations.summarise(few)) == {"C10": OPEN, "C11": OPEN}


@pytest.mark.parametrize("swap", [False, True])
def test_fixed_maps_can_fail(swap):
    outside = dict.fromkeys(fixed_maps.KINDS, 20.0) | {"edit-friendly": 10.0 if swap else 30.0}
    rows = [
        {**r, "moved": 1.0, "layout kept": (r["maps"] == "edit-friendly") != swap, "asked": True}
        for r in rows_of("outside", outside, "maps", ENOUGH)
    ]
    assert verdicts(fixed_maps.summarise(rows)) == {"C12": FAILS if swap else HOLDS}


@pytest.mark.parametrize("bad", [False, True])
def test_reconstruction_can_fail(bad):
    rows = []
    for n in (10, 50, 100, 1000):
        for i in range(3):
            rms = 0.5 if bad else 5.0 / n * (1 + 0.1 * i)
            head = {"part": "inversion", "method": "ddim", "image": i, "psnr": 30.0, "bound": 31.0}
            head |= {"steps": n}
            rows.append({**head, "guidance": 1.0, "rms": rms})
            rows.append({**head, "guidance": 7.5, "rms": rms if bad else 9 * rms})
    rows += [
        {"part": "exact", "dtype": d, "method": m, "max": 1.0 if bad else 1e-12, "rule": "cfg"}
        | {"eta": eta, "steps": n, "skip": skip, "guidance": w}
        for d in exactness.ROUNDING
        for m in exactness.METHODS
        for eta, n, skip, w in ((1.0, 10, 0.0, 3.5), (0.1, 100, 0.36, 15.0))
    ]
    for n, apart in ((10, 0.3), (100, 0.1), (1000, 0.001)):
        for eta in (0.0, 1.0):
            worse = (eta == 0) == bad
            head = {"part": "sampling", "steps": n, "eta": eta, "right": True}
            rows += [{**head, "image": i, "residual": 0.1 + worse * apart} for i in range(3)]
    found = verdicts(reconstruction.summarise(rows, 50))
    assert found == dict.fromkeys(("C1", "C2", "C3", "C8"), FAILS if bad else HOLDS)
    alike = [r for r in rows if r.get("steps") != 100 or r["part"] != "exact"]
    one = verdicts(reconstruction.summarise(alike, 50))["C8"]  # of one setting alone
    assert one == (FAILS if bad else OPEN)
    few = [r for r in rows if not (r["part"] == "sampling" and r["steps"] == sampling.MANY)]
    assert verdicts(reconstruction.summarise(few, 50))["C3"] == (FAILS if bad else OPEN)


@pytest.mark.parametrize("bad", [False, True])
def test_null_text_can_fail(bad):
    psnr = {"ddim": 20.0, "ddim, w 1": 30.0, "null-text": 31.0, null_text.ADAM: 30.9}
    psnr |= {null_text.NEGATIVE: 30.05, null_text.OTHER: 31.0, "ablation: no pivot": 25.0}
    if bad:
        psnr |= {"null-text": 25.0, null_text.NEGATIVE: 29.0, null_text.OTHER: 25.0}
        psnr |= {"ablation: no pivot": 31.0}
    rows = [
        {
            **{"method": name, "iterations": 0 if "ddim" in name or "neg" in name else 3},
            **{"image": i, "psnr": value, "bound": 31.1, "rms": 0.1},
            "seconds": 0.1 if name == null_text.NEGATIVE else 9.0,
        }
        for name, value in psnr.items()
        for i in range(3)
    ]
    found = verdicts(null_text.summarise(rows))
    assert found == dict.fromkeys(("C4", "C5", "C6", "C7"), FAILS if bad else HOLDS)


@pytest.mark.parametrize("swap", [False, True])
def test_skip_guidance_can_fail(swap):
    rows = []
    for skip in (0.0, 0.3, 0.6):
        for w in (1.0, 2.0, 4.0):
            kept = 20 + 10 * skip - w
            asked = 0.5 - skip / 2 + w / 10
            if swap:
                kept, asked = -kept, -asked
            head = {"skip": skip, "guidance": w, "truth": kept, "lpips": None}
            for i in range(ENOUGH):
                some = {"image": i, "outside": kept + 0.1 * i, "asked": asked}
                rows.append({**head, **some})
    found = skip_guidance.summarise(rows)
    assert verdicts(found) == {"C16": FAILS if swap else HOLDS}
    assert found["lpips"] == "unavailable"
    assert not any("lpips by" in name for name in found)


@pytest.mark.parametrize(("ours", "ddim"), [(9.0, 0.0), (0.0, 0.0), (9.0, 5.0)])
def test_diversity_can_fail(ours, ddim):
    means = dict.fromkeys(diversity.METHODS, 3.0) | {"edit-friendly": ours, "ddim": ddim}
    rows = [
        {**r, "lpips between edits": None, "outside": 30.0, "asked": 1.0}
        | {"least pair": 0.9 * r["difference"], "largest pair": 1.1 * r["difference"]}
        for r in rows_of("difference", means)
    ]
    holds = ours > 0 and ddim == 0
    assert verdicts(diversity.summarise(rows)) == {"C14": HOLDS if holds else FAILS}


@pytest.mark.parametrize("swap", [False, True])
def test_trade_off_can_fail(swap):
    rows = [
        {"method": "none", "does": d, "outside": 60.0, "truth": 20.0, "asked": 0.0, "lpips": None}
        for d in ("input", "autoencoder")
    ]
    for name in ("edit-friendly", *trade_off.RIVALS):
        better = (name == "edit-friendly") != swap
        for setting in (0.1, 0.3, 0.5):
            for i in range(trade_off.ENOUGH):
                head = {"method": name, "knob": "skip", "setting": setting, "image": i}
                head |= {"outside": 20 + 10 * setting + 0.01 * i, "lpips": None}
                rows.append({**head, "truth": 20.0 + better, "asked": 0.4 + 0.5 * better})
    found = trade_off.summarise(rows)
    assert verdicts(found) == {"C13": FAILS if swap else HOLDS}
    gap = found["edit-friendly less"]["ddim"]["asked at equal outside"]["mean"]
    assert gap == pytest.approx(-0.5 if swap else 0.5)
    few = [row for row in rows if row.get("image", 0) < trade_off.ENOUGH - 1]
    assert verdicts(trade_off.summarise(few)) == {"C13": OPEN}
    measured = [{**row, "lpips": 0.1 * row.get("setting", 0)} for row in rows]
    asked = "asked at equal lpips"
    assert asked in trade_off.summarise(measured)["edit-friendly less"]["sdedit"]
