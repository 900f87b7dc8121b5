"""Codes save, load, and refuse what does not fit; per-step embeddings are used."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import noisespace as ns
from noisespace.errors import InputError
from tiny import double, tiny_sd

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model():
    return ns.from_pipeline(double(tiny_sd()), "tiny")


@pytest.fixture(scope="module")
def code(model):
    return ns.invert(model, IMAGE, "a cat", steps=6, seed=7)


def test_save_and_load(model, code, tmp_path):
    code.save(tmp_path / "a.safetensors")
    again = ns.Code.load(tmp_path / "a.safetensors")
    assert torch.equal(again.path, code.path)
    assert torch.equal(again.residual, code.residual)
    assert again.info == code.info
    assert (again.prompt, again.seed, again.steps, again.guidance) == ("a cat", 7, 6, 3.5)
    assert again.rule == code.rule
    a, b = (ns.edit(model, c, "a dog").latents for c in (code, again))
    assert torch.equal(a, b)
    with pytest.raises(InputError, match="--force"):
        code.save(tmp_path / "a.safetensors")


def test_refuses_another_model(code):
    other = ns.from_pipeline(double(tiny_sd(seed=1)), "other")
    with pytest.raises(InputError, match="made with the model tiny"):
        ns.edit(other, code, "a dog")


def test_fingerprint_does_not_depend_on_the_dtype():
    single, half = tiny_sd(), tiny_sd()
    torch.nn.Module.to(half.unet, torch.bfloat16)
    assert ns.from_pipeline(single).fingerprint == ns.from_pipeline(half).fingerprint


@pytest.mark.parametrize("kind", ["missing", "pickle", "foreign", "cut", "shape"])
def test_refuses_what_is_no_code(kind, code, tmp_path):
    path = tmp_path / "x.safetensors"
    if kind == "pickle":
        path.write_bytes(b"\x80\x04\x95garbage")
    elif kind == "foreign":
        save_file({"path": torch.zeros(3)}, path)
    elif kind == "cut":
        code.save(path)
        path.write_bytes(path.read_bytes()[:-100])
    elif kind == "shape":
        replace(code, residual=code.residual[1:]).save(path)
    with pytest.raises(InputError) as caught:
        ns.Code.load(path)
    assert "\n" not in str(caught.value)


def test_noise_maps(code, model):
    z = code.noise_maps()
    assert z.shape == code.residual.shape
    std = ns.invert(model, IMAGE, "a cat", ns.DDIM(), steps=4).noise_maps()
    assert not std.any()
    with pytest.raises(InputError, match="fresh noise"):
        ns.invert(model, IMAGE, "a cat", ns.SDEdit(eta=1.0), steps=4).noise_maps()


def test_per_step_embeddings_are_used(model):
    code = ns.invert(model, IMAGE, "a cat", ns.DDIM(), steps=4)
    plain = ns.reconstruct(model, code, guidance=3.0).latents
    steps, shape = 4, model.embed([""]).embedding.shape[1:]
    empty = model.embed([""]).embedding.expand(steps, 1, *shape)
    same = ns.reconstruct(model, replace(code, null=empty), guidance=3.0).latents
    torch.testing.assert_close(same, plain)
    for name in ("null", "text"):
        other = replace(code, **{name: torch.randn(steps, 1, *shape).double()})
        assert not torch.allclose(ns.reconstruct(model, other, guidance=3.0).latents, plain)
