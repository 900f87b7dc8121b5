"""Calls of one model beside each other: none sees the other's hooks, nothing stays behind."""

import threading

import numpy as np
import pytest
import torch

import noisespace as ns
from noisespace.models.adapters import adapting, new_adapter
from tiny import tiny_sd

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
SOURCE, TARGET = "a cat on grass", "a dog on grass"
EDITORS = [
    None,
    ns.PromptToPrompt(),
    ns.MasaCtrl(step=1),
    ns.PlugAndPlay(),
    ns.Pix2PixZero(),
]


@pytest.fixture(scope="module")
def model():
    return ns.from_pipeline(tiny_sd())


def together(jobs):
    """What each job returns or raises, all in threads of their own."""
    out = [None] * len(jobs)

    def run(i):
        try:
            out[i] = jobs[i]()
        except Exception as error:
            out[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(jobs))]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return out


def test_edits_beside_each_other_are_those_made_alone(model):
    code = ns.invert(model, IMAGE, SOURCE, ns.EditFriendly(skip=0.2), steps=6)
    before = list(model.network.attn_processors.values())

    def job(editor):
        return lambda: ns.edit(model, code, TARGET, editor=editor).latents

    alone = [job(editor)() for editor in EDITORS]

    def broken():
        def score(pixels, prompts):
            if len(seen) > 3:
                raise RuntimeError("in the middle")
            seen.append(1)
            return pixels.mean((1, 2, 3))

        seen = []
        return ns.edit(model, code, TARGET, editor=ns.ScoreGuidance(score))

    for _ in range(3):
        *found, error = together([*(job(editor) for editor in EDITORS), broken])
        for one, expected in zip(found, alone, strict=True):
            torch.testing.assert_close(one, expected, atol=1e-4, rtol=0)
        assert "in the middle" in str(error)
    after = list(model.network.attn_processors.values())
    assert all(a is b for a, b in zip(after, before, strict=True))
    assert not any(len(m._forward_hooks) for m in model.network.modules())


def test_prompts_are_read_beside_each_other(model):
    prompts = [["a cat"], ["a dog on grass " * 40], ["a cat", "a red dog in the snow"], [""]]
    alone = [model.embed(one) for one in prompts]

    def job(i):
        return lambda: [model.embed(prompts[i]) for _ in range(100)]

    for found, expected in zip(together([job(i) for i in range(4)] * 2), alone * 2, strict=True):
        for one in found:
            assert (one.tokens, one.cut) == (expected.tokens, expected.cut)
            torch.testing.assert_close(one.embedding, expected.embedding, atol=1e-6, rtol=0)


def test_an_adapter_of_one_call_is_not_in_another(model):
    generator = torch.Generator().manual_seed(0)
    adapter = {k: v + 0.3 for k, v in new_adapter(model.network, 2, generator).items()}
    level, text = model.grid(10).level(4), model.embed([SOURCE])
    x = torch.randn(1, 4, 8, 8, generator=generator)
    plain = model.denoise(x, level, text).eps
    inside, go = threading.Event(), threading.Event()

    def fits():
        with torch.no_grad(), adapting(model.network, adapter):
            inside.set()
            go.wait(5)
            return model.denoise(x, level, text).eps

    def asks():
        inside.wait(5)
        threading.Timer(0.2, go.set).start()
        return model.denoise(x, level, text).eps

    under, beside = together([fits, asks])
    torch.testing.assert_close(beside, plain, atol=1e-6, rtol=0)
    assert (under - plain).abs().max() > 1e-3
