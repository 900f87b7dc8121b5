"""Models: sampling equals diffusers' own pipeline; loading is safe and says what is wrong."""

import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
)
from safetensors.torch import load_file, save_file

import noisespace as ns
from noisespace.core.guidance import with_guidance
from noisespace.errors import InputError
from tiny import double, tiny_pixels, tiny_sd


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny"
    tiny_sd().save_pretrained(path, safe_serialization=True)
    return path


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(("eta", "w"), [(0.0, 7.5), (0.0, 1.0), (1.0, 3.0)])
def test_sample_equals_the_pipeline(kind, eta, w):
    pipe = double(tiny_sd(prediction_type=kind))
    model = ns.from_pipeline(pipe)
    ours = ns.sample(model, "a photo of a cat", steps=10, guidance=w, eta=eta, seed=3)
    drawn = torch.Generator().manual_seed(3)
    start = torch.randn(1, 4, 8, 8, generator=drawn, dtype=torch.float64)
    theirs = pipe(
        "a photo of a cat",
        num_inference_steps=10,
        guidance_scale=w,
        eta=eta,
        latents=start,
        generator=drawn,
        output_type="latent",
    ).images
    torch.testing.assert_close(ours.latents, theirs, atol=1e-5, rtol=1e-5)


def test_guidance_off_costs_one_evaluation():
    model = ns.from_pipeline(tiny_sd())
    rows = []

    def counted(x, level, text, controls=None):
        rows.append(len(x))
        return model.denoise(x, level, text, controls)

    x, text = torch.randn(3, 4, 8, 8), model.embed(["a cat", "a dog", "a horse"])
    null, level = model.embed([""] * 3), model.grid(10).level(2)
    with torch.no_grad():
        plain = with_guidance(counted, null, torch.ones(3))(x, level, text)
        mixed = with_guidance(counted, null, torch.tensor([1.0, 5.0, 1.0]))(x, level, text)
        apart = model.denoise(x, level, null)
    assert rows == [3, 4]
    torch.testing.assert_close(mixed.eps[::2], plain.eps[::2], atol=1e-5, rtol=1e-4)
    expected = apart.eps[1] + 5 * (plain.eps[1] - apart.eps[1])
    torch.testing.assert_close(mixed.eps[1], expected, atol=1e-4, rtol=1e-4)


def test_loads_a_folder(folder):
    model = ns.load(folder, dtype="float64")
    assert (model.state_dtype, model.resolution, model.channels) == (torch.float64, 32, 4)
    assert model.fingerprint == ns.from_pipeline(tiny_sd()).fingerprint
    code = ns.invert(model, torch.zeros(1, 4, 8, 8), "a cat", steps=3)
    assert code.info.model == "tiny"


def test_loads_unconditional_pixels(tmp_path):
    tiny_pixels().save_pretrained(tmp_path / "pixels", safe_serialization=True)
    model = ns.load(tmp_path / "pixels")
    assert not model.has_text
    assert ns.sample(model, steps=3).images[0].size == (16, 16)


def damage(kind, path):
    """Breaks a copy of a good folder."""
    index = json.loads((path / "model_index.json").read_text())
    if kind == "no pipeline":
        (path / "model_index.json").unlink()
    elif kind == "broken json":
        (path / "model_index.json").write_text("{")
    elif kind == "class":
        index["_class_name"] = "EvilPipeline"
    elif kind == "part":
        index["unet"] = ["os", "system"]
    elif kind == "no config":
        (path / "vae" / "config.json").unlink()
    elif kind == "no weights":
        (path / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    elif kind == "pickle":
        file = path / "unet" / "diffusion_pytorch_model.safetensors"
        file.rename(file.with_suffix(".bin"))
    elif kind == "cut":
        file = path / "unet" / "diffusion_pytorch_model.safetensors"
        file.write_bytes(file.read_bytes()[:5000])
    elif kind == "NaN":
        file = path / "unet" / "diffusion_pytorch_model.safetensors"
        weights = load_file(file)
        weights["conv_in.bias"][0] = float("nan")
        save_file(weights, file, metadata={"format": "pt"})
    if kind in ("class", "part"):
        (path / "model_index.json").write_text(json.dumps(index))


KINDS = {
    "no pipeline": "no diffusers pipeline",
    "broken json": "JSON",
    "class": "not supported",
    "part": "not supported",
    "no config": "missing",
    "no weights": "no weights",
    "pickle": "pickle",
    "cut": "unet.*damaged",
    "NaN": "NaN",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_folder_is_one_sentence(kind, folder, tmp_path):
    path = tmp_path / "copy"
    shutil.copytree(folder, path)
    damage(kind, path)
    with pytest.raises(InputError, match=KINDS[kind]) as caught:
        ns.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"dtype": "float16", "device": "cpu"}, "float16 does not run on a CPU"),
        ({"dtype": "int8"}, "dtype"),
        ({"device": "tpu"}, "device"),
        ({"name": "no such model"}, "not known"),
    ],
)
def test_bad_options(folder, options, word):
    with pytest.raises(InputError, match=word):
        ns.load(**{"name": folder, **options})


def test_the_scheduler_is_read_not_run(folder):
    model = ns.load(folder)
    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
    scheduler.set_timesteps(10)
    assert model.grid(10).timesteps[:-1].long().tolist() == scheduler.timesteps.tolist()


# ---- schedulers


NUMPY = "ignore:__array_:DeprecationWarning"  # in diffusers' own schedulers


@pytest.mark.filterwarnings(NUMPY)
@pytest.mark.parametrize("spacing", ["use_karras_sigmas", "use_exponential_sigmas"])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_noise_levels_that_are_spaced_themselves(spacing, kind):
    pipe = double(tiny_sd(prediction_type=kind, timestep_spacing="leading"))
    options = {spacing: True}
    pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config, **options)
    model = ns.from_pipeline(pipe)
    ours = ns.sample(model, "a photo of a cat", steps=10, guidance=3.0, seed=3)
    start = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    settings = {"num_inference_steps": 10, "guidance_scale": 3.0, "output_type": "latent"}
    theirs = pipe("a photo of a cat", latents=start, **settings).images
    torch.testing.assert_close(ours.latents, theirs, atol=1e-4, rtol=1e-4)  # its table is float32
    grid, scheduler = model.grid(10), pipe.scheduler
    torch.testing.assert_close(
        (grid.sigma / grid.alpha), scheduler.sigmas.double(), atol=0, rtol=1e-5
    )
    torch.testing.assert_close(grid.timesteps[:-1], scheduler.timesteps.double(), atol=1e-2, rtol=0)
    assert float(grid.sigma[-1]) == 0  # though what it was made from ends above, at alpha-bar 0
    plain = ns.from_pipeline(tiny_sd(prediction_type=kind)).grid(10)
    assert not torch.allclose(model.grid(10).sigma, plain.sigma, atol=0.05)
    pipe.scheduler.register_to_config(use_lu_lambdas=True)
    with pytest.raises(InputError, match="spaces its noise levels by use_lu_lambdas"):
        ns.from_pipeline(pipe)


@pytest.mark.filterwarnings(NUMPY)
def test_solvers_are_not_needed(folder, tmp_path):
    """Of a folder whose scheduler's solver wants a package that is not here, nothing is missing."""
    path = tmp_path / "lms"
    shutil.copytree(folder, path)
    index = json.loads((path / "model_index.json").read_text())
    config = json.loads((path / "scheduler" / "scheduler_config.json").read_text())
    for name in ("LMSDiscreteScheduler", "DPMSolverSDEScheduler"):
        index["scheduler"] = ["diffusers", name]
        kept = {k: v for k, v in config.items() if k.startswith("beta")}
        (path / "model_index.json").write_text(json.dumps(index))
        (path / "scheduler" / "scheduler_config.json").write_text(json.dumps(kept))
        model = ns.load(path)
        assert model.schedule.config["timestep_spacing"] == "linspace"
        assert model.schedule.config["beta_start"] == config["beta_start"]
        assert torch.isfinite(ns.sample(model, "a cat", steps=2).latents).all()


def test_what_is_no_pipeline():
    for thing in (object(), tiny_sd().unet, StableDiffusionPipeline):
        with pytest.raises(InputError, match="expected a diffusers pipeline"):
            ns.from_pipeline(thing)


@pytest.mark.parametrize("part", ["unet", "vae"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_layers_of_several_dtypes_are_one_sentence(part, dtype):
    pipe = tiny_sd()
    layer = pipe.unet.conv_out if part == "unet" else pipe.vae.decoder.conv_out
    layer.to(dtype)
    with pytest.raises(InputError, match=f"weights of {part} are of several dtypes"):
        ns.from_pipeline(pipe)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_parts_of_several_dtypes_work(part):
    """States are float32, whatever each part is in."""
    pipe = tiny_sd()
    getattr(pipe, part).to(dtype=torch.bfloat16)
    model = ns.from_pipeline(pipe)
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    code = ns.invert(model, picture, "a photo of a cat", steps=4)
    result = ns.edit(model, code, "a photo of a dog")
    assert result.latents.dtype == torch.float32
    assert (ns.reconstruct(model, code).latents - code.path[-1]).abs().max() < 2e-5


def test_samples_that_would_be_clipped_are_said():
    pipe = tiny_pixels()
    pipe.scheduler = DDPMScheduler()  # clips by default
    with pytest.warns(UserWarning, match="DDPMScheduler sets clip_sample, which is left out"):
        ns.from_pipeline(pipe)
    pipe = tiny_sd()
    pipe.scheduler.register_to_config(thresholding=True, clip_sample=True)
    with pytest.warns(UserWarning, match="clip_sample and thresholding"):
        ns.from_pipeline(pipe)
    kept = EulerDiscreteScheduler.from_config(pipe.scheduler.config)  # which knows nothing of them
    pipe.scheduler = kept
    ns.from_pipeline(pipe)
