"""Runs of a benchmark: sharing, resuming, failing, and what does not depend on the batch."""

import json
import shutil
from dataclasses import replace

import layouts
import numpy as np
import pytest

import noisespace as ns
from noisespace.bench import run as running
from noisespace.bench.cases import Case
from noisespace.bench.costs import Counted, Tally, costing
from noisespace.bench.methods import Settings, parse_line, parse_lines
from noisespace.bench.readers import read_cases
from noisespace.bench.rows import Parts, Row, read_rows, read_table
from noisespace.bench.run import Plan, run_bench
from noisespace.errors import InputError
from noisespace.pictures.metadata import read_record
from noisespace.system.files import alone
from tiny import double, tiny_pixels, tiny_sd

DDIM = "ddim @ steps=3,guidance=2"
P2P = "ddim + prompt-to-prompt:cross=.5 @ steps=3,guidance=2"
EF = "edit-friendly:skip=1 @ steps=3,guidance=2"
NOISY = "sdedit:strength=.7,eta=1 @ steps=3,guidance=2"
METHODS = ["nothing", "autoencoder", DDIM, P2P, EF, NOISY]
VARIES = ("seconds_inversion", "seconds_edit", "memory_mb")


@pytest.fixture(scope="module")
def model():
    return ns.from_pipeline(double(tiny_sd()))


def pixels(seed, size=(32, 32)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def some_cases(count=3, **changes):
    left = np.arange(32)[None].repeat(32, 0) < 16
    made = [
        Case(f"c{i}", pixels(i), "a photo of a cat", "a photo of a dog", left, kind="k")
        for i in range(count)
    ]
    return [replace(case, **changes) for case in made]


def measure(case, picture, mask):
    away = np.abs(picture.astype(float) - case.pixels()).mean()
    return {"mean": float(picture.mean()), "away": float(away), "found": None}


def go(model, out, methods=METHODS, cases=None, measure=measure, **plan):
    cases = some_cases() if cases is None else cases
    return run_bench(model, cases, parse_lines(methods), measure, out, Plan(**plan))


def fixed(out):
    """The rows without what varies from run to run, by case and method."""
    rows = [{k: v for k, v in row.items() if k not in VARIES} for row in read_rows(out)]
    assert len({(row["id"], row["method"]) for row in rows}) == len(rows)
    return sorted(rows, key=lambda row: (row["id"], row["method"]))


def counted(model):
    tally = Tally()
    return Counted(model, tally), tally


# ---- what methods are written as


def test_methods_are_read():
    line = parse_line(
        " edit-friendly:skip=.36  + prompt-to-prompt:cross=.8,reweight=red:2+dotted:.5 "
        "@ guidance=7.5, source-guidance=3.5,steps=50,mask=own"
    )
    assert line.inversion == ns.EditFriendly(skip=0.36)
    assert line.editor == ns.PromptToPrompt(cross=0.8, reweight={"red": 2, "dotted": 0.5})
    assert line.settings == Settings(7.5, 3.5, 50, "own")
    assert line.name.startswith("edit-friendly:skip=.36 + prompt-to-prompt")
    assert parse_line("null-text:guidance=2").settings == Settings()
    assert parse_line("nothing").inversion is None
    some = parse_lines([DDIM, P2P, "ddim @ steps=4", "nothing", "autoencoder"])
    assert [len(group) for group in running.sharing(some)] == [2, 1, 1, 1]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "expected INVERSION"),
        ("+ masactrl", "expected INVERSION"),
        ("ddim +", "expected INVERSION"),
        ("ddim @", "expected INVERSION"),
        ("dim", "method 'dim' is not known; did you mean ddim"),
        ("ddim + masactrrl", "did you mean masactrl"),
        ("ddim @ guidence=2", "no field 'guidence'; did you mean guidance"),
        ("ddim @ steps=many", "steps must be none or an integer"),
        ("ddim @ mask=theirs", "own or diffedit"),
        ("nothing + masactrl", "takes no editor"),
        ("autoencoder @ steps=3", "takes no editor and no settings"),
    ],
)
def test_what_is_no_method(line, says):
    with pytest.raises(InputError, match=says):
        parse_line(line)


def test_the_same_method_twice():
    with pytest.raises(InputError, match="are the same"):
        parse_lines(["ddim @ steps=3,guidance=2", DDIM.replace("=2", "=2.0")])
    with pytest.raises(InputError, match="got no method"):
        parse_lines([])


# ---- rows


def test_rows_tell_what_was_done_and_what_it_took(model, tmp_path):
    told = []
    cases = some_cases()
    done = run_bench(
        model, cases, parse_lines(METHODS), measure, tmp_path, Plan(), lambda *t: told.append(t)
    )
    assert (done.rows, done.failed) == (18, 0)
    assert told[-1] == (18, 18)
    rows = {(row["id"], row["method"]): row for row in read_rows(tmp_path)}
    nothing, plain, both = (rows["c1", name] for name in ("nothing", DDIM, P2P))
    assert (nothing["away"], nothing["evaluations_edit"], nothing["inversion"]) == (0, 0, "")
    assert rows["c1", "autoencoder"]["away"] > 0
    assert (plain["kind"], plain["status"], plain["found"]) == ("k", "ok", None)
    assert plain["inversion"].startswith("DDIM(")
    assert both["editor"].startswith("PromptToPrompt(cross=0.5")
    assert (plain["steps"], plain["guidance"], plain["source_guidance"]) == (3, 2.0, 1.0)
    assert (plain["seed"], plain["batch"]) == (cases[1].seed(0), 3)
    # one row a step inverting; two editing (text and null); of two rows with a source under touch
    assert [plain[f"evaluations_{k}"] for k in ("inversion", "edit")] == [3, 6]
    assert [both[f"evaluations_{k}"] for k in ("inversion", "edit")] == [3, 12]
    assert plain["seconds_inversion"] == both["seconds_inversion"] > 0
    assert plain["seconds_edit"] > 0
    assert plain["memory_mb"] is None or plain["memory_mb"] >= 0
    assert plain["mean"] != both["mean"]


def test_an_inversion_is_shared(model, tmp_path):
    for methods, rows in (([DDIM], 9 + 18), ([DDIM, P2P], 9 + 18 + 36)):
        proxy, tally = counted(model)
        go(proxy, tmp_path / str(rows), methods)
        assert tally.rows == rows


def test_nothing_depends_on_the_batch(model, tmp_path):
    for batch in (1, 3):
        go(model, tmp_path / str(batch), batch=batch, keep=True)
    one, three = (fixed(tmp_path / name) for name in ("1", "3"))
    for a, b in zip(one, three, strict=True):
        a.pop("batch"), b.pop("batch")
        assert a == b
        pngs = [(tmp_path / name / a["picture"]).read_bytes() for name in ("1", "3")]
        assert pngs[0] == pngs[1]  # the record too: as if edited alone


def test_pictures_are_kept_with_their_records(model, tmp_path):
    cases = some_cases(2, target="a photo of a horse")
    go(model, tmp_path, [f"{DDIM},mask=own", "nothing"], cases, keep=True)
    paths = [tmp_path / row["picture"] for row in read_rows(tmp_path)]
    record = read_record(paths[1])
    assert record["source"]["prompt"] == ["a photo of a cat"]
    assert record["source"]["seed"] == [cases[1].seed(0)]
    assert record["picture"] == {"prompt": "a photo of a horse", "source": 0}
    assert record["mask"].startswith("sha256:")
    assert paths[1].parent.name.startswith("ddim-steps=3-guidance=2-mask=own-")
    assert read_record(paths[3])["task"] == "nothing"


def test_images_of_several_sizes(model, tmp_path):
    sizes = [(32, 32), (32, 48), (32, 32), (64, 96)]
    cases = [
        replace(some_cases()[0], id=f"{i}", mask=None, image=pixels(i, s))
        for i, s in enumerate(sizes)
    ]
    seen = {}

    def note(case, picture, mask):
        seen[case.id] = picture.shape[:2]
        return {}

    assert go(model, tmp_path, [DDIM], cases, note).failed == 0
    assert seen == {f"{i}": size for i, size in enumerate(sizes)}
    assert [row["batch"] for row in read_rows(tmp_path)] == [2, 2, 2, 2]


def test_masks_and_words_are_each_cases_own(model, tmp_path):
    told = {}
    methods = [
        f"{DDIM},mask=own",
        "ddim + prompt-to-prompt:blend=own,blend_threshold=.9 @ steps=3",
        "ddim + diffedit @ steps=3,guidance=2",
    ]

    def note(case, picture, mask):
        told.setdefault(case.id, []).append(None if mask is None else mask.shape)
        return {}

    cases = some_cases(2, about={"blend": ("cat", "dog")})
    cases[1] = replace(cases[1], mask=None, about={"blend": ("tiger", "dog")})
    go(model, tmp_path, methods, cases, note)
    rows = fixed(tmp_path)
    assert told == {"c0": [None, None, (32, 32)], "c1": [(32, 32)]}
    bad = {row["method"]: row["reason"] for row in rows if row["status"] == "failed"}
    assert bad == {
        methods[0]: "case c1 has no mask for mask=own",
        methods[1]: next(r["reason"] for r in rows if "tiger" in r["reason"]),
    }
    assert {row["batch"] for row in rows if row["method"] == methods[1]} == {1}


# ---- failures


def test_a_failure_is_a_row_of_its_own(model, tmp_path):
    method = "ddim + prompt-to-prompt:reweight=dog:2 @ steps=3,guidance=2"
    cases = some_cases()
    cases[1] = replace(cases[1], target="a photo of a horse")
    done = go(model, tmp_path / "mixed", [method, DDIM], cases)
    assert (done.rows, done.failed) == (6, 1)
    rows = {(row["id"], row["method"]): row for row in read_rows(tmp_path / "mixed")}
    assert "dog" in rows["c1", method]["reason"]
    assert rows["c1", method]["mean"] is None
    assert rows["c1", DDIM]["status"] == "ok"
    go(model, tmp_path / "good", [method], [cases[0], cases[2]])
    for row in read_rows(tmp_path / "good"):
        assert rows[row["id"], method]["mean"] == row["mean"]


def test_an_image_that_cannot_be_read(model, tmp_path):
    (tmp_path / "bad.png").write_bytes(
        layouts.picture(tmp_path / "a.png", (32, 32)).read_bytes()[:200]
    )
    cases = some_cases()
    cases[1] = replace(cases[1], image=tmp_path / "bad.png", mask=None)
    done = go(model, tmp_path / "out", ["nothing", DDIM], cases)
    assert (done.rows, done.failed) == (6, 2)
    bad = [row for row in read_rows(tmp_path / "out") if row["status"] == "failed"]
    assert all(row["id"] == "c1" and "damaged" in row["reason"] for row in bad)


@pytest.mark.parametrize(
    ("error", "says"),
    [(ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"), (InputError("no"), "no")],
)
def test_a_measure_that_fails(model, tmp_path, error, says):
    def broken(case, picture, mask):
        if case.id == "c1":
            raise error
        return {"x": 1}

    assert go(model, tmp_path, ["nothing"], measure=broken).failed == 1
    assert read_rows(tmp_path)[1]["reason"] == f"while measuring: {says}"


def test_a_metric_must_not_take_a_columns_name(model, tmp_path):
    go(model, tmp_path, ["nothing"], measure=lambda *_: {"seed": 1.0})
    assert "cannot be called seed" in read_rows(tmp_path)[0]["reason"]


# ---- going on


def stopping(after):
    """A measure that is interrupted, as by Ctrl-C, after so many calls."""
    calls = []

    def stop(*parts):
        calls.append(parts)
        if len(calls) > after:
            raise KeyboardInterrupt
        return measure(*parts)

    return stop


@pytest.mark.parametrize("after", [1, 4, 8, 13])
def test_a_stopped_run_goes_on(model, tmp_path, after):
    whole, out = tmp_path / "whole", tmp_path / "out"
    go(model, whole, batch=2, rows=3)
    with pytest.raises(KeyboardInterrupt):
        go(model, out, batch=2, rows=3, measure=stopping(after))
    kept = read_rows(out)
    assert len(kept) >= after - 2  # at most the batch under way is lost
    measured = []
    go(model, out, batch=2, rows=3, measure=lambda *p: (measured.append(p[0].id), measure(*p))[1])
    assert len(measured) == 18 - len(kept)
    assert read_rows(out)[: len(kept)] == kept
    assert fixed(out) == fixed(whole)


def test_a_killed_run_goes_on(model, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    go(model, whole, batch=2, rows=4)
    shutil.copytree(whole, out)
    parts = sorted((out / "rows").glob("part-*"))
    assert [p.name for p in parts[:2]] == ["part-00001.parquet", "part-00002.parquet"]
    for part in parts[2:]:
        part.unlink()
    (out / "rows" / ".part-00003.parquet.x.tmp").write_bytes(b"PAR1 half")
    proxy, tally = counted(model)
    go(proxy, out, batch=2, rows=4)
    assert fixed(out) == fixed(whole)
    proxy, tally = counted(model)
    assert go(proxy, out).rows == 18
    assert tally.rows == 0  # nothing is left to do
    assert not list((out / "rows").glob(".*.tmp"))


def test_what_failed_is_tried_again_when_asked(model, tmp_path):
    def broken(case, picture, mask):
        return measure(case, picture, mask) if case.id != "c1" else 1 / 0

    assert go(model, tmp_path, ["nothing", DDIM], measure=broken).failed == 2
    again, tally = counted(model)
    assert go(again, tmp_path, ["nothing", DDIM]).failed == 2  # a failure is a row that is there
    assert tally.rows == 0
    assert go(again, tmp_path, ["nothing", DDIM], retry=True).failed == 0
    go(model, tmp_path / "whole", ["nothing", DDIM])
    mine, plain = ([{**r, "batch": 0} for r in fixed(f)] for f in (tmp_path, tmp_path / "whole"))
    for one, other in zip(mine, plain, strict=True):
        assert one == pytest.approx(other)  # batched otherwise: to rounding


def test_two_runs_do_not_share_a_folder(model, tmp_path):
    go(model, tmp_path, ["nothing"])
    with alone(tmp_path / "rows"), pytest.raises(InputError, match="another run is going on"):
        go(model, tmp_path, ["nothing"])


def test_another_run_is_refused(model, tmp_path):
    go(model, tmp_path, ["nothing"])
    for changed, says in (
        ({"seed": 1}, "was made with seed 0, now it is 1"),
        ({"cases": some_cases(2)}, "was made with data"),
        ({"cases": some_cases(target="a photo of a tiger")}, "was made with data"),
        ({"metrics": ("psnr",)}, "was made with metrics"),
        ({"size": 64}, "was made with size null, now it is 64"),
    ):
        with pytest.raises(InputError, match=says):
            go(model, tmp_path, **{"methods": ["nothing"], **changed})
    with pytest.raises(InputError, match="was made with model"):
        go(ns.from_pipeline(tiny_sd(1)), tmp_path, ["nothing"])
    assert go(model, tmp_path, ["nothing"], batch=1, keep=True).rows == 3  # these may change


def test_further_methods_may_come(model, tmp_path):
    go(model, tmp_path / "one", [DDIM])
    proxy, tally = counted(model)
    assert go(proxy, tmp_path / "one", ["nothing", DDIM]).rows == 6
    assert tally.rows == 0  # the former are not made again
    go(model, tmp_path / "both", ["nothing", DDIM])
    assert fixed(tmp_path / "one") == fixed(tmp_path / "both")
    told = [json.loads((tmp_path / f / "bench.json").read_text()) for f in ("one", "both")]
    assert {m["method"] for m in told[0]["methods"]} == {m["method"] for m in told[1]["methods"]}
    told[0]["methods"][0]["settings"] = "others"
    (tmp_path / "one" / "bench.json").write_text(json.dumps(told[0]))
    with pytest.raises(InputError, match="means something else by 'ddim"):
        go(model, tmp_path / "one", [DDIM])


def test_a_folder_of_something_else_is_refused(model, tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="holds no benchmark"):
        go(model, tmp_path, ["nothing"])
    with pytest.raises(InputError, match="holds no benchmark"):
        go(model, tmp_path / "thesis.tex", ["nothing"])


def test_damaged_parts_are_told(model, tmp_path):
    go(model, tmp_path, ["nothing"])
    (tmp_path / "rows" / "part-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="remove it, and run"):
        read_rows(tmp_path)
    (tmp_path / "bench.json").write_text("[]")
    with pytest.raises(InputError, match="damaged"):
        go(model, tmp_path, ["nothing"])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("edit-friendly:skip=30 @ steps=3", "skip"),
        ("ddim @ guidance=1e9", "guidance must be"),
        ("ddim + prompt-to-prompt:cross=2 @ steps=3", "cross must be a share"),
        ("ddim @ mask=own", "has no mask"),
    ],
)
def test_what_cannot_run_is_refused_before_it_does(model, tmp_path, line, says):
    proxy, tally = counted(model)
    with pytest.raises(InputError, match=says):
        go(proxy, tmp_path / "out", ["nothing", line], some_cases(mask=None))
    assert (tally.rows, (tmp_path / "out").exists()) == (0, False)


def test_an_unconditional_model(tmp_path):
    model = ns.from_pipeline(tiny_pixels())
    cases = some_cases(2, source="", target="", image=pixels(0, (16, 16)), mask=None)
    assert go(model, tmp_path / "a", ["edit-friendly:skip=1 @ steps=3"], cases).failed == 0
    with pytest.raises(InputError, match="guidance must be 1"):
        go(model, tmp_path / "b", [DDIM], cases)


# ---- parts


def test_parts_come_by_rows_and_by_time(tmp_path):
    parts = Parts(tmp_path / "rows", 4, 1e9)
    parts.add([Row("a", "x", metrics={"psnr": 1.0})] * 3)
    assert not (tmp_path / "rows").exists()
    parts.add([Row("b", "x", status="failed", reason="no")])
    hurried = Parts(tmp_path / "rows", 100, 0.0)
    hurried.add([Row("c", "x", metrics={"ssim": 2.0})])
    hurried.flush()
    assert sorted(p.name for p in (tmp_path / "rows").iterdir()) == [
        "part-00001.parquet",
        "part-00002.parquet",
    ]
    table = read_table(tmp_path)
    assert table.column("psnr").to_pylist() == [1.0] * 3 + [None, None]
    assert table.column("ssim").to_pylist() == [None] * 4 + [2.0]


def test_a_part_is_never_overwritten(tmp_path):
    one, two = Parts(tmp_path), Parts(tmp_path)
    for parts in (one, two):
        parts.add([Row("a", "x")])
    one.flush()
    with pytest.raises(InputError, match="exists already"):
        two.flush()


# ---- the embedded model


def test_scenes_from_reader_to_rows(tmp_path):
    def psnr(case, picture, mask):
        mse = ((picture.astype(float) - case.truth) ** 2).mean()
        return {"truth": float(10 * np.log10(255**2 / mse))}

    methods = ["nothing", "edit-friendly @ steps=8", "ddim + prompt-to-prompt:blend=own @ steps=8"]
    cases = read_cases("scenes", 2)
    done = go(ns.load("scenes", device="cpu"), tmp_path, methods, cases, psnr)
    assert (done.rows, done.failed) == (6, 0), read_rows(tmp_path)
    assert all(5 < row["truth"] < 60 for row in read_rows(tmp_path))
    assert json.loads((tmp_path / "bench.json").read_text())["data"]["cases"] == 2


def test_memory_is_what_the_work_took(model):
    """Whatever ran before it."""

    def holds(megabytes):
        def work(_):
            return float(np.ones(megabytes * 10**6 // 8).sum())

        return costing(model, work)[1].memory

    found = [holds(mb) for mb in (150, 600, 150)]
    if None in found:
        pytest.skip("this system does not tell")
    for mb, memory in zip((150, 600, 150), found, strict=True):
        assert mb * 0.9 < memory < mb * 1.2 + 20
