"""Codes save, load, and refuse what does not fit; per-step embeddings are used."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import noisespace as ns
from choices import EVERY_INVERSION
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


# ---- files from outside


def header_of(path):
    with safe_open(str(path), "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return json.loads(file.metadata()["noisespace"]), tensors


def rewritten(path, change):
    """The file with its header, or its tensors, changed."""
    header, tensors = header_of(path)
    words = change(header, tensors)
    text = words if isinstance(words, str) else json.dumps(header)
    save_file(tensors, path, {"noisespace": text})
    return path


def put(*keys, value):
    def change(header, tensors):
        for key in keys[:-1]:
            header = header[key]
        header[keys[-1]] = value

    return change


def tensor(name, value):
    def change(header, tensors):
        tensors[name] = value(tensors.get(name))

    return change


MALFORMED = {
    "correct": put("step", "correct", value="foo"),
    "correct list": put("step", "correct", value=[1]),
    "eta word": put("step", "eta", value="x"),
    "eta none": put("step", "eta", value=None),
    "eta large": put("step", "eta", value=7),
    "unknown field": put("step", "foo", value=1),
    "unknown step": put("step", value={"kind": "midpoint"}),
    "no step": put("step", value={}),
    "edict p": put("step", value={"kind": "edict", "p": "x"}),
    "edict alternate": put("step", value={"kind": "edict", "p": 0.9, "alternate": "foo"}),
    "lattice nan": put("lattice", value=float("nan")),
    "lattice negative": put("lattice", value=-1.0),
    "lattice wide": put("lattice", value=100.0),
    "lattice odd": put("lattice", value=0.3),
    "blend": put("blend", value=7.0),
    "quantile": put("rule", "quantile", value="x"),
    "rule": put("rule", "rule", value="foo"),
    "mode": put("rule", "mode", value="zz"),
    "prompts": put("info", "prompts", value=["a", "b", "c"]),
    "fit": put("info", "fit", value=[{"foo": [1, 2]}]),
    "coupling": put("coupling", value={"kind": "edict"}),
    "newer": put("format", value=3),
    "format word": put("format", value="x"),
    "deep": lambda header, tensors: "[" * 200_000,
    "not json": lambda header, tensors: "{",
    "a list": lambda header, tensors: "[]",
    "no images": tensor("path", lambda x: x[:, :0]),
    "three dimensions": tensor("path", lambda x: x[:, 0]),
    "short sigma": tensor("grid.sigma", lambda x: x[:-1]),
    "square alpha": tensor("grid.alpha", lambda x: x[:, None]),
    "nan in the grid": tensor("grid.alpha", lambda x: x * float("nan")),
    "a twin too many": tensor("kept.twin", lambda _: torch.zeros(1, 1, 4, 8, 8)),
    "half an adapter": tensor("adapter.foo.up", lambda _: torch.zeros(2, 2)),
    "an adapter's name": tensor("adapter.foo", lambda _: torch.zeros(2, 2)),
    "whole numbers": tensor("path", lambda x: x.long()),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_file_is_one_sentence(name, tmp_path):
    model = ns.from_pipeline(tiny_sd())
    path = tmp_path / "code.safetensors"
    ns.invert(model, np.zeros((32, 32, 3), np.uint8), "a cat", steps=4).save(path)
    with pytest.raises(InputError) as said:
        ns.Code.load(rewritten(path, MALFORMED[name]))
    assert len(str(said.value).splitlines()) == 1
    assert str(said.value).startswith(f"{path}: ")


def test_what_a_newer_version_or_another_list_made_is_said(tmp_path):
    model = ns.from_pipeline(tiny_sd())
    path = tmp_path / "code.safetensors"
    code = ns.invert(model, np.zeros((32, 32, 3), np.uint8), "a cat", steps=4)
    code.save(path)
    with pytest.raises(InputError, match="format 3, which a newer noisespace writes"):
        ns.Code.load(rewritten(path, MALFORMED["newer"]))
    code.save(path, force=True)
    with pytest.raises(InputError, match="step 'midpoint', which this version does not have"):
        ns.Code.load(rewritten(path, MALFORMED["unknown step"]))

    @dataclass(frozen=True)
    class Mine:
        keeps = ()

    with pytest.raises(InputError, match="not in the list of core/steps"):
        replace(code, step=Mine()).to_bytes()


@pytest.mark.parametrize("method", EVERY_INVERSION, ids=repr)
def test_every_code_comes_back_from_its_file(method, tmp_path):
    model = ns.from_pipeline(double(tiny_sd()))
    prompt = "a cat"
    try:
        code = ns.invert(model, np.zeros((32, 32, 3), np.uint8), prompt, method, steps=4)
    except InputError as error:  # what needs an alignment model
        pytest.skip(str(error))
    code.save(tmp_path / "code.safetensors")
    again = ns.Code.load(tmp_path / "code.safetensors")
    assert (again.step, again.lattice, again.blend) == (code.step, code.lattice, code.blend)
    edits = [ns.edit(model, c, "a dog", guidance=3.0).latents for c in (code, again)]
    assert torch.equal(*edits)
