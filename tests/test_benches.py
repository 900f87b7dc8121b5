"""The benchmarks run and mean what they say: counts, fits, pages; no time is asserted."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import noisespace as ns

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import gpu
import page
import races
import scaling
import textbook
from networks import SIZES, random_model, unet_of

from noisespace.parts import batch_rows


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


def test_the_textbook_gives_the_library_s_results():
    """The same edit in the public order: what is timed against each other is the same work."""
    model = ns.load("scenes", device="cpu")
    s = replace(races.setting("scenes", quick=True, warm=True), steps=10, model=model)
    code = s.invert()
    edited = s.edit(code, races.TARGETS[0]).latents
    maps = s.maps()
    source = textbook.edit(model, maps, races.SOURCE, s.skip, races.W_SOURCE)
    torch.testing.assert_close(source, s.x0, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(code.path[0], maps.x[s.skip])
    theirs = textbook.edit(model, maps, races.TARGETS[0], s.skip, races.W_TARGET)
    torch.testing.assert_close(edited, theirs, atol=2e-2, rtol=2e-2)  # w = 15 amplifies rounding
    assert (edited - s.x0).abs().max() > 0.2


def test_stored_attention_changes_no_result(small):
    x, text = torch.randn(1, 4, 8, 8), small.embed(["a cat"]).embedding
    with torch.no_grad():
        expected = small.unet(x, 300.0, encoder_hidden_states=text).sample
        with textbook.storing(small.unet) as kept:
            got = [small.unet(x, 300.0, encoder_hidden_states=text).sample for _ in range(2)]
    assert sum(map(len, kept.values())) == len(small.unet.attn_processors)
    torch.testing.assert_close(got[1], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "point",
    [scaling.Point(10, 32, 32), scaling.Point(10, 64, 96, 2, 2), scaling.Point(20, 32, 64, 1, 3)],
    ids=str,
)
def test_the_model_of_cost_counts_what_runs(small, point):
    rows = []
    look = small.unet.register_forward_pre_hook(
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
    assert batch_rows(torch.empty(1, 4, 16, 16), 1) == 32  # what its batches are made of


def test_the_gpu_s_row_has_every_figure(small):
    half = random_model("tiny", torch.bfloat16)
    got = gpu.row(gpu.Bench(half, 32, 2, torch.device("cpu"), quick=True))
    failed = [value for value in got.values() if isinstance(value, str)]
    assert failed == []
    assert set(got) == set(gpu.COLUMNS) - {"compile_s", "compiled_edit_s"}


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
    for name in ("bench", "scaling"):
        assert f"<!-- {name} -->" in docs.read_text()
