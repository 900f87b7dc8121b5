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
    rows, forward = [], model.unet.forward

    def counted(x, *args, **options):
        rows.append(len(x))
        return forward(x, *args, **options)

    monkeypatch.setattr(model.unet, "forward", counted)
    return rows


def test_edits_are_the_library_s(model, calls):
    x0 = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    maps = textbook.invert(model, x0, SOURCE, steps=STEPS, w=3.5)
    assert calls == [1] * (2 * STEPS)  # skipped steps too, each prediction apart
    calls.clear()
    theirs = textbook.edit_each(model, maps, TARGETS, skip=SKIP, w=5.0)
    assert calls == [1] * (2 * (STEPS - SKIP) * len(TARGETS))
    first = textbook.edit(model, maps, TARGETS[0], skip=SKIP, w=5.0)
    torch.testing.assert_close(theirs[0], first, atol=1e-9, rtol=0)  # storing changes nothing
    code = ns.invert(model, x0, SOURCE, ns.EditFriendly(SKIP), steps=STEPS, guidance=3.5)
    # the same noise: both draw from seed 0, each in its own order, so take the library's maps
    z = torch.zeros_like(maps.z)
    z[SKIP:] = code.noise_maps()
    x = maps.x.clone()
    x[SKIP:] = code.path
    same = textbook.edit_each(model, textbook.Maps(x, z), TARGETS, skip=SKIP, w=5.0)
    ours = ns.edit(model, code, TARGETS, guidance=5.0).latents
    torch.testing.assert_close(torch.cat(same), ours, atol=1e-8, rtol=0)


def test_attention_is_stored_and_the_network_left_as_it_was(model):
    before = dict(model.unet.attn_processors)
    maps = textbook.Maps(torch.randn(2, 1, 4, 8, 8).double(), torch.zeros(1, 1, 4, 8, 8).double())
    _, store = textbook.edit_stored(model, maps, TARGETS[0], skip=0)
    assert set(store.sums) == set(before)
    for sums in store.sums.values():
        torch.testing.assert_close(sums.sum(-1), torch.full(sums.shape[:-1], 2.0).double())
    assert model.unet.attn_processors == before
