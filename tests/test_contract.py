"""The public contract: names, signatures and defaults that users and later work rely on."""

import inspect

import numpy as np
import pytest
import torch
from PIL import Image

import noisespace as ns
from tiny import tiny_sd

SIGNATURES = {
    "load": ["name", "dtype='auto'", "device='auto'"],
    "invert": [
        "model",
        "image",
        "prompt",
        "method=EditFriendly(skip=0.36, eta=1.0, live=False)",
        "*steps=None",
        "*guidance=None",
        "*seed=0",
        "*size=None",
    ],
    "edit": ["model", "code", "prompt", "*guidance=None", "*editor=None", "*mask=None", "*seed=0"],
    "reconstruct": ["model", "code", "*guidance=None"],
    "sample": [
        "model",
        "prompt",
        "*steps=None",
        "*guidance=None",
        "*eta=0.0",
        "*seed=0",
        "*size=None",
    ],
    "edit_steps": [
        "model",
        "code",
        "prompt",
        "*guidance=None",
        "*editor=None",
        "*mask=None",
        "*seed=0",
    ],
    "freeze": ["model", "code"],
}
FIELDS = {
    "EditFriendly": {"skip": 0.36, "eta": 1.0, "live": False},
    "CycleDiffusion": {"skip": 0.36, "eta": 0.1},
    "DDIM": {"told": "lower", "stop": None},
    "FixedPoint": {},
    "NegativePrompt": {},
    "ProxNPI": {"quantile": 0.7, "mode": "hard"},
    "Direct": {},
    "SDEdit": {"strength": 0.8, "strokes": None},
}
PUBLISHED = {
    "EditFriendly": (100, 3.5, 15.0),
    "DDIM": (50, 1.0, 7.5),
    "CycleDiffusion": (100, 1.0, 7.5),
    "FixedPoint": (50, 1.0, 7.5),
    "NegativePrompt": (50, 1.0, 7.5),
    "ProxNPI": (50, 1.0, 7.5),
    "SDEdit": (50, 1.0, 7.5),
    "Direct": (50, 1.0, 7.5),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name):
    parameters = inspect.signature(getattr(ns, name)).parameters
    for wanted in SIGNATURES[name]:
        key, _, default = wanted.lstrip("*").partition("=")
        assert key in parameters, f"{name} has no {key}"
        if default:
            assert repr(parameters[key].default) == default
        if wanted.startswith("*"):
            assert parameters[key].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("name", FIELDS)
def test_method_fields(name):
    method = getattr(ns, name)()
    assert {k: getattr(method, k) for k in FIELDS[name]} == FIELDS[name]
    with pytest.raises(AttributeError):
        method.new = 1  # frozen


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_defaults(name):
    found = getattr(ns, name).defaults
    assert (found.steps, found.invert, found.edit) == PUBLISHED[name]


def test_results():
    model = ns.from_pipeline(tiny_sd())
    image = np.zeros((32, 32, 3), np.uint8)
    code = ns.invert(model, [image, Image.fromarray(image)], ["a cat", "a dog"], steps=3)
    assert code.prompt == ["a cat", "a dog"]
    assert code.seed == [0, 0]
    assert code.method == "EditFriendly(skip=0.36, eta=1.0, live=False)"
    assert code.path.shape == (3, 2, 4, 8, 8)  # levels 1..3 of 3 steps, two images
    assert code.noise_maps().shape == (2, 2, 4, 8, 8)
    run = ns.edit_steps(model, code, [["a tiger", "a horse"], "a cat"])
    steps = [(s.index, s.total) for s in run]
    assert steps == [(0, 2), (1, 2)]
    result = run.result
    assert len(result.images) == len(result.latents) == 3
    assert isinstance(result.latents, torch.Tensor)
    assert isinstance(result.reconstruction, list)
    assert result.mask is None
    assert isinstance(result.record, dict)
    single = ns.edit(model, ns.invert(model, image, "a cat", steps=3), "a dog")
    assert isinstance(single.reconstruction, Image.Image)
    again = ns.reconstruct(model, code)
    assert len(again.images) == 2


def test_everything_public_is_there():
    for name in ns.__all__:
        assert getattr(ns, name) is not None
    with pytest.raises(AttributeError):
        _ = ns.no_such_thing
