"""The baseline of all speeds computes what the library does, in the public code's order."""

import sys
from pathlib import Path

import pytest
import torch

import noisespace as ns
from tiny import double, tiny_sd

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import textbook

SOURCE, TARGETS = "a photo of a cat", ["a photo of a dog", "a red horse"]
STEPS, SKIP = 6, 2


@pytest.fixture(scope="module")
def model():
    return ns.from_pipeline(double(tiny_sd()))


@pytest.fixture
def calls(model, monkeypatch):
    """The rows of every evaluation of the network."""
    rows, forward = [], model.network.forward

    def counted(x, *args, **options):
        rows.append(len(x))
        return forward(x, *args, **options)

    monkeypatch.setattr(model.network, "forward", counted)
    return rows


def test_edits_are_the_library_s(model, calls):
    x0 = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    maps = textbook.invert(model, x0, SOURCE, steps=STEPS, w=3.5)
    assert calls == [1] * (2 * STEPS)  # skipped steps too, each prediction apart
    calls.clear()
    textbook.edit(model, maps, TARGETS[0], skip=SKIP, w=5.0)
    assert calls == [1] * (2 * (STEPS - SKIP))
    code = ns.invert(model, x0, SOURCE, ns.EditFriendly(SKIP), steps=STEPS, guidance=3.5)
    # the same noise: both draw from seed 0, each in its own order, so take the library's maps
    z = torch.zeros_like(maps.z)
    z[SKIP:] = code.noise_maps()
    x = maps.x.clone()
    x[SKIP:] = code.path
    same = [textbook.edit(model, textbook.Maps(x, z), t, skip=SKIP, w=5.0) for t in TARGETS]
    ours = ns.edit(model, code, TARGETS, guidance=5.0).latents
    torch.testing.assert_close(torch.cat(same), ours, atol=1e-8, rtol=0)


def test_attention_is_stored_and_the_network_left_as_it_was(model):
    before = dict(model.network.attn_processors)
    maps = textbook.Maps(torch.randn(2, 1, 4, 8, 8).double(), torch.zeros(1, 1, 4, 8, 8).double())
    expected = textbook.edit(model, maps, TARGETS[0], skip=0)
    with textbook.storing(model.network) as kept:
        got = textbook.edit(model, maps, TARGETS[0], skip=0)
    torch.testing.assert_close(got, expected, atol=1e-9, rtol=0)  # storing changes nothing
    sums = [p for place in kept.values() for p in place]
    assert len(sums) == len(before)
    for p in sums:  # both guides of one step: rows of probabilities that add up to two
        torch.testing.assert_close(p.sum(-1), torch.full(p.shape[:-1], 2.0).double())
    assert model.network.attn_processors == before


def test_null_text_with_a_fresh_pass_is_the_notebook_s(model, calls):
    """The text's pass at every iteration costs evaluations and changes nothing."""
    x0 = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    given = []
    for fresh in (False, True):
        calls.clear()
        found, x = textbook.null_text(model, x0, SOURCE, steps=2, iterations=3, fresh=fresh)
        given.append((found, x, len(calls)))
    (kept, x, fewer), (anew, y, more) = given
    torch.testing.assert_close((anew, y), (kept, x), atol=1e-9, rtol=0)
    assert more == fewer + 2 * 2  # of three iterations of two steps, all but the first
