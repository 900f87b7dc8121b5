"""Weights in 8 or 4 bits: what runs on them, what is refused, and what is asked of the libraries.

Most of it needs no bitsandbytes: a layer of that name stands in for its layers.
"""

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import noisespace as ns
from noisespace.cli import app
from noisespace.errors import InputError
from noisespace.models.memory import parameters_of
from noisespace.models.quantised import is_quantised, quantising
from noisespace.models.speed import Speed
from tiny import tiny_flux, tiny_sd, tiny_sd3

PICTURE = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
SOURCE, TARGET = "a photo of a cat", "a photo of a dog"
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Linear8(nn.Module):
    """A linear layer whose weights are whole numbers of 8 bits, a scale a row."""

    def __init__(self, layer: nn.Linear):
        super().__init__()
        scale = layer.weight.abs().amax(1, keepdim=True).clamp(min=1e-8) / 127
        whole = (layer.weight / scale).round().to(torch.int8)
        self.weight = nn.Parameter(whole, requires_grad=False)
        self.register_buffer("scale", scale.detach())
        self.bias = layer.bias
        self.in_features, self.out_features = layer.in_features, layer.out_features

    def forward(self, x):
        return nn.functional.linear(x, (self.weight * self.scale).to(x), self.bias)


Linear8.__module__ = "bitsandbytes.nn.modules"


def in_8_bits(module):
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                setattr(parent, name, Linear8(child))
    return module


@pytest.mark.parametrize("make", [tiny_sd, tiny_sd3, tiny_flux])
def test_quantised_networks_of_a_pipeline_run(make):
    plain = ns.from_pipeline(make())
    pipe = make()
    in_8_bits(pipe.unet if make is tiny_sd else pipe.transformer)
    model = ns.from_pipeline(pipe)
    assert (model.quantised, plain.quantised) == (True, False)
    assert model.dtype == torch.float32  # of what computes, not of whole numbers
    assert model.fingerprint != plain.fingerprint
    code = ns.invert(model, PICTURE, SOURCE, ns.EditFriendly(skip=0), steps=5, size=32)
    assert (ns.reconstruct(model, code).latents - code.path[-1]).abs().max() < 2e-5
    full = ns.invert(plain, PICTURE, SOURCE, ns.EditFriendly(skip=0), steps=5, size=32)
    assert code.lattice > full.lattice  # kernels of 8 bits round more coarsely than float32's
    edit = ns.edit(model, code, TARGET, editor=ns.PromptToPrompt(), guidance=2.0)
    assert torch.isfinite(edit.latents).all()
    with pytest.raises(InputError, match="was made with the model"):
        ns.edit(plain, code, TARGET)


def test_what_needs_gradients_is_refused_before_anything_runs(monkeypatch):
    pipe = tiny_sd()
    in_8_bits(pipe.unet)
    model = ns.from_pipeline(pipe)
    monkeypatch.setattr(type(model), "denoise", lambda *a, **k: pytest.fail("the network ran"))
    methods = (ns.NullText(), ns.PromptTuning(), ns.TextualInversion(), ns.Imagic(), ns.UniTune())
    for method in (*methods, ns.DiffusionCLIP(target=TARGET)):
        with pytest.raises(InputError, match="without gradients"):
            ns.invert(model, PICTURE, SOURCE, method, steps=3)


def test_gradients_through_it_are_refused():
    pipe = tiny_sd()
    in_8_bits(pipe.unet)
    model = ns.from_pipeline(pipe)
    x, text = torch.randn(1, 4, 8, 8, requires_grad=True), model.embed([SOURCE])
    with pytest.raises(InputError, match="without gradients"):
        model.denoise(x, model.grid(10).level(3), text)


def test_other_weights_of_8_bits_are_refused():
    pipe = tiny_sd()
    pipe.unet.conv_in.weight = nn.Parameter(pipe.unet.conv_in.weight.to(torch.int8), False)
    assert not is_quantised(pipe.unet)
    with pytest.raises(InputError, match="another library than bitsandbytes"):
        ns.from_pipeline(pipe)


def test_what_quantize_goes_without(monkeypatch):
    monkeypatch.setattr("noisespace.models.quantised.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"noisespace\[quantize\]"):
        Speed(quantize="8bit").on(CUDA)
    monkeypatch.setattr("noisespace.models.quantised.find_spec", lambda name: name)
    assert Speed(quantize="8bit").on(CUDA).quantize == "8bit"
    assert Speed("bfloat16", offload="parts", quantize="4bit").on(CUDA).offload == "parts"
    for wrong, place, why in (
        (Speed(quantize="2bit"), CUDA, "8bit or 4bit"),
        (Speed(quantize="8bit"), CPU, "needs a CUDA device"),
        (Speed(quantize="8bit", preset="exact"), CUDA, "goes without preset exact"),
        (Speed("float64", quantize="8bit"), CUDA, "goes without dtype float64"),
        (Speed(quantize="8bit", compile=True), CUDA, "goes without compile"),
        (Speed(quantize="8bit", offload="layers"), CUDA, "goes without offload layers"),
    ):
        with pytest.raises(InputError, match=why):
            wrong.on(place)
    done = CliRunner().invoke(app, ["sample", "a", "-o", "x.png", "--quantize", "2bit"])
    assert done.exit_code == 2


def test_the_network_and_t5_are_loaded_so(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("noisespace.models.speed.check_quantize", lambda *a: None)
    monkeypatch.setattr(
        "noisespace.models.loading.quantising", lambda *given: asked.append(given) or {}
    )
    tiny_sd3().save_pretrained(tmp_path / "sd3")
    model = ns.load(tmp_path / "sd3", quantize="4bit", device="cpu")
    parts = [("transformer", "4bit", torch.float32), ("text_encoder_3", "4bit", torch.float32)]
    assert sorted(asked) == sorted(parts)
    assert model.speed == {"quantize": "4bit"}
    counts = parameters_of(tmp_path / "sd3")
    for part, bits in (("transformer", 4), ("text_encoder_3", 4), ("vae", 32)):
        assert model.memory.weights[part] == counts[part] * bits / 8
    (tmp_path / "one.safetensors").write_bytes((16).to_bytes(8, "little") + b'{"__metadata__":')
    for options, why in (
        ({"name": tmp_path / "one.safetensors"}, "damaged"),
        ({"name": tmp_path / "sd3", "lora": [tmp_path / "sd3" / "vae"]}, "safetensors"),
    ):
        with pytest.raises(InputError, match=why):
            ns.load(**options, quantize="4bit", device="cpu")


@pytest.mark.parametrize(("part", "library"), [("unet", "diffusers"), ("text_encoder_3", "transf")])
def test_what_the_libraries_are_told(part, library, monkeypatch):
    pytest.importorskip("bitsandbytes")
    four = quantising(part, "4bit", torch.bfloat16)["quantization_config"]
    eight = quantising(part, "8bit", torch.bfloat16)["quantization_config"]
    assert type(four).__module__.startswith(library)
    assert (four.load_in_4bit, four.bnb_4bit_quant_type) == (True, "nf4")
    assert four.bnb_4bit_compute_dtype == torch.bfloat16
    assert (eight.load_in_8bit, eight.load_in_4bit) == (True, False)


def test_bitsandbytes_itself(tmp_path, monkeypatch):
    """On a CPU, where it runs too; diffusers asks for a GPU, and is told that there is one."""
    pytest.importorskip("bitsandbytes")
    from diffusers.quantizers.bitsandbytes import bnb_quantizer

    quantizer = bnb_quantizer.BnB8BitDiffusersQuantizer
    monkeypatch.setattr(quantizer, "validate_environment", lambda *a, **k: None)
    monkeypatch.setattr(quantizer, "update_device_map", lambda self, given: {"": "cpu"})
    monkeypatch.setattr("noisespace.models.speed.check_quantize", lambda *a: None)
    tiny_flux().save_pretrained(tmp_path / "flux")
    model = ns.load(tmp_path / "flux", quantize="8bit", device="cpu")
    assert model.quantised
    code = ns.invert(model, PICTURE, SOURCE, steps=4, size=32)
    assert (ns.reconstruct(model, code).latents - code.path[-1]).abs().max() < 2e-5
    record = ns.edit(model, code, TARGET).record
    assert record["model"]["quantize"] == "8bit"
