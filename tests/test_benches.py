"""The benchmarks run and mean what they say: counts, fits, pages; no time is asserted."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import noisespace as ns

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import gpu
import machine
import million
import page
import presets
import races
import scaling
import textbook
from networks import SIZES, random_model, unet_of

import bench
from noisespace.core.batching import batch_rows


@pytest.fixture(scope="module")
def small():
    return random_model("tiny")


def test_sizes_are_those_of_the_names():
    with torch.device("meta"):
        counts = {
            name: sum(p.numel() for p in unet_of(SIZES[name]).parameters()) / 1e6
            for name in ("sd-10m", "sd-1.5", "sdxl")
        }
    assert 9 < counts["sd-10m"] < 11
    assert round(counts["sd-1.5"]) == 860
    assert 2500 < counts["sdxl"] < 2600


def test_flops_are_counted_with_packed_weights_too():
    unet = ns.load("scenes", device="cpu").network
    x, text = torch.zeros(2, 4, 16, 16), torch.zeros(2, 32, unet.config.cross_attention_dim)
    counts = []
    for mode in (torch.no_grad, torch.inference_mode):  # packed in the second one alone
        with mode():
            counts.append(machine.flops_of(lambda: unet(x, 500, encoder_hidden_states=text)))
    assert counts[0] == counts[1] > 1e9


def test_the_textbook_gives_the_library_s_results():
    """The same edit in the public order: what is timed against each other is the same work."""
    model = ns.load("scenes", device="cpu")
    s = replace(races.setting("scenes", "warm"), steps=10, model=model)
    code = s.invert()
    edited = s.edit(code, races.TARGETS[0]).latents
    maps = s.maps()
    source = textbook.edit(model, maps, s.source, s.skip, races.W_SOURCE)
    torch.testing.assert_close(source, s.x0, atol=1e-3, rtol=1e-3)
    lattice = code.lattice / 2 + 1e-6  # to which the library brings the states
    torch.testing.assert_close(code.path[0], maps.x[s.skip], atol=lattice, rtol=0)
    theirs = textbook.edit(model, maps, races.TARGETS[0], s.skip, races.W_TARGET)
    torch.testing.assert_close(edited, theirs, atol=2e-2, rtol=2e-2)  # w = 15 amplifies rounding
    assert (edited - s.x0).abs().max() > 0.2


def test_stored_attention_changes_no_result(small):
    x, text = torch.randn(1, 4, 8, 8), small.embed(["a cat"]).embedding
    with torch.no_grad():
        expected = small.network(x, 300.0, encoder_hidden_states=text).sample
        with textbook.storing(small.network) as kept:
            got = [small.network(x, 300.0, encoder_hidden_states=text).sample for _ in range(2)]
    assert sum(map(len, kept.values())) == len(small.network.attn_processors)
    torch.testing.assert_close(got[1], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "point",
    [
        scaling.Point(10, 64, 64),
        scaling.Point(10, 128, 192, 2, 2),
        scaling.Point(20, 64, 128, 1, 3),
    ],
    ids=str,
)
def test_the_model_of_cost_counts_what_runs(small, point):
    rows = []
    look = small.network.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(args[0])), with_kwargs=True
    )
    size = (point.height, point.width)
    pictures = [np.zeros((*size, 3), np.uint8)] * point.images
    try:
        options = {"steps": point.steps, "guidance": 3.5, "size": size}
        method = ns.EditFriendly(skip=scaling.SKIP)
        code = ns.invert(small, pictures, "a", method, **options)
        targets = [(races.TARGETS * 2)[: point.prompts]] * point.images
        ns.edit(small, code, targets, guidance=15.0)
    finally:
        look.remove()
    assert len(rows) == sum(n for n, _ in point.batches())
    assert sum(rows) == sum(n * r for n, r in point.batches())


def test_the_fit_finds_known_costs_and_predicts():
    true = np.array([2e-3, 3e-6, 1e-9, 0.05, 1e-6])
    some = [replace(p, seconds=float(np.dot(p.terms(), true))) for p in scaling.points(quick=False)]
    found = scaling.report(some)
    np.testing.assert_allclose(list(found["cost"].values()), true, rtol=1e-3)
    assert found["held_out_error"]["median"] < 1e-3
    assert batch_rows(torch.empty(1, 4, 16, 16), 1) == 128  # what its batches are made of


def tiny_gpu() -> gpu.Bench:
    half = random_model("tiny", torch.bfloat16)
    return gpu.Bench(half, 32, 2, torch.device("cpu"), quick=True)


def test_the_gpu_s_row_has_every_figure(small):
    *_, got = gpu.row(tiny_gpu())
    assert not any("failed" in str(value) for value in got.values())
    assert set(got) == set(gpu.COLUMNS) - {"compile_s", "compiled_edit_s", "pays_after"}


def test_a_figure_of_the_gpu_that_fails_leaves_the_others(small, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(gpu.Bench, "edit", full)
    *_, got = gpu.row(tiny_gpu())
    assert got["edit_s"].startswith("failed: OutOfMemoryError")
    assert min(got["invert_s"], got["share"]) > 0


def test_the_baseline_is_finite_in_bfloat16():
    """With a schedule's own last alpha-bars, which bfloat16 rounds to 1."""
    model = random_model("tiny", torch.bfloat16)
    x0 = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    maps = textbook.invert(model, x0, races.SOURCE, steps=100)
    assert maps.z.flatten(1).abs().amax(1).min() > 0  # every step has its noise
    assert textbook.edit(model, maps, races.TARGETS[0], skip=36).isfinite().all()


def test_a_race_of_edits_that_are_not_finite_is_none(monkeypatch):
    monkeypatch.setattr(textbook, "edit", lambda model, maps, *_: maps.x[-1] * float("nan"))
    with pytest.raises(ArithmeticError, match="textbook's edit is not finite"):
        gpu.race(tiny_gpu())


def test_a_row_of_the_gpu_that_ends_its_process_keeps_its_figures(tmp_path, monkeypatch):
    script = tmp_path / "row.py"
    script.write_text("import os\nprint('{\"invert_s\": 1.5}', flush=True)\nos._exit(7)\n")
    monkeypatch.setattr(gpu, "__file__", str(script))
    first, last = gpu.row_apart("--one", "tiny", "32")
    assert first == {"invert_s": 1.5}
    assert last == {**first, "edit_s": f"failed: {gpu.ENDED} 7"}


def test_a_gpu_that_is_not_there_is_said_at_once(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cuda:99"])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert ended.value.code == 2
    assert "is not available" in capsys.readouterr().err


def test_bad_input_is_said_before_anything_is_measured(tmp_path, monkeypatch, capsys):
    out, wrong = tmp_path / "results.json", tmp_path / "wrong.json"
    wrong.write_bytes(b"\x89PNG")
    refused = {
        ("--trial",): "add --out",
        ("--only", "nothing", "--out", str(out)): "in no row's name",
        ("--out", str(tmp_path / "missing" / "a.json")): "does not exist",
        ("--out", str(out), "--page", str(wrong)): "cannot be read as a page",
        ("--out", str(wrong), "--resume"): "cannot be gone on with",
    }
    for words, told in refused.items():
        monkeypatch.setattr(sys, "argv", ["bench.py", *words])
        with pytest.raises(SystemExit) as ended:
            bench.main()
        assert told in capsys.readouterr().err + str(ended.value)
    assert not out.exists()


def test_rows_alone_do_not_take_the_others_place(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench.py", "--only", "null-text"])
    with pytest.raises(SystemExit):
        bench.main()
    assert "--resume or --out" in capsys.readouterr().err
    out = tmp_path / "results.json"
    out.write_text(json.dumps({"environment": {"cpu": "another"}, "rows": [], "flops": FLOPS}))
    with pytest.raises(SystemExit, match="measured with cpu another"):
        run_bench(monkeypatch, out, [], "--resume")
    own = {"cpu": machine.cpu_name(), "quick": False}
    out.write_text(json.dumps({"environment": own, "rows": [], "flops": FLOPS}))
    with pytest.raises(SystemExit, match="with quick False, this is True"):
        run_bench(monkeypatch, out, [], "--resume")


def test_a_page_s_table_is_replaced(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n")
    page.put(path, "bench", page.table(["a"], [["1"]]))
    page.put(path, "bench", page.table(["a"], [["2"]]))
    assert (
        path.read_text() == "before\n<!-- bench -->\n| a |\n|---|\n| 2 |\n<!-- /bench -->\nafter\n"
    )
    with pytest.raises(SystemExit, match="no place"):
        page.put(path, "other", "")
    docs = Path(__file__).parents[1] / "docs" / "performance.md"
    for name in ("bench", "scaling", "rows", "presets", "million"):
        assert f"<!-- {name} -->" in docs.read_text()


FLOPS = {"network": 2e9, "matmul": 4e9, "share": 0.5, "inversion_share": 0.4, "edit_share": 0.2}


def run_bench(monkeypatch, out, some, *words):
    monkeypatch.setattr(bench, "races", lambda *_: some)
    monkeypatch.setattr(bench, "network_flops", lambda runs: FLOPS)
    monkeypatch.setattr(bench, "startup", lambda pairs: bench.compared(bench.STARTUP, [(1.0, 2.0)]))
    monkeypatch.setattr(sys, "argv", ["bench.py", "--quick", "--out", str(out), *words])
    bench.main()


def counting(seen, name, broken=False):
    def side(who):
        seen.append((name, who))
        if broken:
            raise KeyboardInterrupt
        return torch.zeros(1)

    sides = (lambda: side("ours"), lambda: side("theirs"))
    return races.Race(name, lambda: sides, judge=(lambda latents: 30.0) if name == "b" else None)


def test_a_run_that_is_stopped_keeps_its_rows(tmp_path, monkeypatch):
    out, seen = tmp_path / "results.json", []
    some = [counting(seen, "a"), counting(seen, "b", broken=True)]
    with pytest.raises(SystemExit, match="--resume"):
        run_bench(monkeypatch, out, some)
    assert [row["name"] for row in json.loads(out.read_text())["rows"]] == [bench.STARTUP, "a"]
    seen.clear()
    page_file = tmp_path / "page.md"
    page_file.write_text("<!-- bench -->\n<!-- /bench -->\n")
    some = [counting(seen, "a"), counting(seen, "b")]
    run_bench(monkeypatch, out, some, "--resume", "--page", str(page_file))
    assert {name for name, _ in seen} == {"b"}
    assert [who for _, who in seen[:4]] == ["ours", "theirs"] * 2  # in turn, the first to warm up
    done = json.loads(out.read_text())
    assert set(done) == {"environment", "rows", "flops"}
    assert [row["name"] for row in done["rows"]] == [bench.STARTUP, "a", "b"]
    needed = {"name", "ours_s", "baseline_s", "ratio", "spread", "ours_mb", "baseline_mb"}
    assert all(needed <= set(row) for row in done["rows"])
    assert done["rows"][2]["psnr_db"] == [30.0, 30.0]
    assert "<= 6 s: met" in page_file.read_text()
    assert "50%" in page_file.read_text()


def test_ratios_are_those_of_the_pairs():
    row = bench.compared("x", [(1.0, 3.0), (2.0, 4.0), (1.0, 4.0)])
    assert (row["ratio"], row["spread"]) == (3.0, [2.0, 4.0])
    assert (row["ours_s"], row["baseline_s"], row["pairs"]) == (1.0, 4.0, 3)


@pytest.mark.parametrize(
    ("name", "ratio", "told"),
    [
        ("scenes: edit-friendly inversion", 6.1, ">= 6x: met"),
        ("scenes: inversion + edit", 2.9, ">= 3x: **missed**"),
        ("scenes: inversion + edit, attention not kept", 2.9, ""),
        ("sd-1.5, 512 pixels, 6 steps: inversion + edit", 1.0, ""),
    ],
)
def test_aims_are_said_to_be_met_or_missed(name, ratio, told):
    assert page.aim({"name": name, "ratio": ratio}) == told


def test_quick_leaves_the_slow_pairs_out():
    names = [one.name for one in races.races("warm") if one.quick]
    assert "scenes: null-text" in names
    assert "sd-10m: null-text" not in names
    assert not any(one.apart for one in races.races("warm"))
    assert any(one.apart for one in races.races("warm", large=True))


def test_memory_of_a_side_is_measured_apart():
    """A process of its own: this one's peak has all the other tests in it."""
    plan = bench.Plan.of(quick=True, trial=True)
    one = races.race("scenes: edit-friendly inversion", "warm")
    for side in bench.weighed(one, plan):
        assert side is not None
        assert side["s"] > 0
        assert side["mb"] >= 0


def test_growth_is_what_the_work_holds():
    """In a process of its own: here, memory that other tests have freed may hold the work."""
    lines = (
        "import torch, machine",
        "held = []",
        "print(machine.grown(lambda: held.append(torch.ones(50 * 2**18))))",  # 50 MiB
    )
    folder = Path(machine.__file__).parent
    told = subprocess.check_output([sys.executable, "-c", "\n".join(lines)], cwd=folder)
    assert 45 < float(told) < 80


def test_points_that_are_measured_are_not_measured_again():
    wanted = scaling.points(quick=True)
    some = [replace(wanted[0], seconds=1.5), replace(wanted[3], seconds=0.5)]
    left = scaling.remaining(wanted, some)
    assert left == [p for p in wanted if p not in (wanted[0], wanted[3])]


def test_a_million_pictures():
    small, large = million.jobs(1e10, networks=("tiny",), sides=(64, 128))
    assert 3.5 < large.flops / small.flops < 8  # positions, and attention above them
    assert small.hours(1) / 8 < small.hours(8) < small.hours(1) / 7  # a start each
    assert small.traffic(8) == pytest.approx(8 * small.traffic(1))
    assert small.traffic(small.saturating) == pytest.approx(million.STORE_MB_S, rel=0.01)
    assert 0 < small.codec_flops < small.network_flops
    fed, start = small.saturating, million.LOADING_S / 3600
    assert small.hours(100 * fed) == small.hours(10 * fed) > start  # the store is the limit
    assert small.hours(fed // 2) > 1.9 * (small.hours(fed) - start)
    told = million.text_of([small, large])
    assert "hours on 64 GPUs" in told
    assert ("(store)" in told) == (fed < million.GPUS[-1])


def test_the_table_of_presets():
    some = [presets.Tried(*setting) for setting in presets.SETTINGS[:2]]
    for one, gain in zip(some, (0.0, 1.0), strict=True):
        one.true, one.whole = [24.0 + gain, 26.0 + gain, 25.0 + gain], [60.0, 50.0, 40.0]
        one.seconds = [2.0 - gain] * 3
    told = presets.text_of(some, {"cpu": "x", "threads": 1, "load": 0.0})
    assert "| 100 | 2 |  | 26.0 | +1.0 (+1.0 to +1.0) | 50.0 (worst 40.0) | 1.00 | 2.0x |" in told
