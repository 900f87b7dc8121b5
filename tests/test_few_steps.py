"""Models of one to eight steps: distilled ones, timesteps by name, maps with a shifted time."""

import json

import numpy as np
import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler
from PIL import Image
from typer.testing import CliRunner

import noisespace as ns
from noisespace.cli import app
from noisespace.errors import InputError
from tiny import double, tiny_flux, tiny_sd, tiny_sd3, tiny_sdxl

PICTURE = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
SOURCE, TARGET = "a photo of a cat", "a photo of a dog"
# in diffusers' own schedulers
pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")


def turbo(make):
    """A pipeline with the scheduler that SD-Turbo and SDXL-Turbo are published with."""
    pipe = double(make())
    options = {"timestep_spacing": "trailing"}
    pipe.scheduler = EulerAncestralDiscreteScheduler.from_config(pipe.scheduler.config, **options)
    return pipe


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
@pytest.mark.parametrize("make", [tiny_sd, tiny_sdxl])
def test_turbo_models_are_sampled_as_by_their_pipelines(make, steps):
    """Euler's ancestral step is the DDPM posterior (eta = 1); diffusers calls no guidance 0."""
    pipe = turbo(make)
    model = ns.from_pipeline(pipe)
    got = ns.sample(model, SOURCE, steps=steps, eta=1.0, seed=3)
    assert got.record["guidance"] == 1
    drawn = torch.Generator().manual_seed(3)
    start = torch.randn(1, 4, 8, 8, generator=drawn, dtype=torch.float64)
    pipe.scheduler.set_timesteps(steps)
    ratio = float(pipe.scheduler.sigmas[0])  # the pipeline's first state is ratio * noise, of VE
    options = {"num_inference_steps": steps, "guidance_scale": 0.0, "output_type": "latent"}
    options |= {"height": 32, "width": 32, "generator": drawn}
    theirs = pipe(SOURCE, latents=start * (1 + ratio**2) ** 0.5 / ratio, **options).images
    torch.testing.assert_close(got.latents, theirs, atol=2e-5, rtol=2e-5)  # float32 tables


def test_turbo_models_have_their_own_defaults():
    model = ns.from_pipeline(turbo(tiny_sdxl))
    assert ns.sample(model, SOURCE).record["steps"] == 4
    code = ns.invert(model, PICTURE, SOURCE)
    assert (code.steps, code.guidance) == (4, 1.0)
    result = ns.edit(model, code, TARGET)
    assert result.record["guidance"] == 1
    with pytest.warns(UserWarning, match="is 1 here"):
        ns.edit(model, code, TARGET, guidance=0.0)
    assert ns.from_pipeline(tiny_sdxl()).defaults["sample"] == {"guidance": 5.0}


@pytest.mark.parametrize("make", [lambda: turbo(tiny_sd), lambda: double(tiny_sd3())])
def test_maps_with_a_shifted_time_are_exact_and_less_noisy(make):
    """4 of 5 steps, each state as noisy as the next level: TurboEdit's (arXiv 2408.00735)."""
    model = ns.from_pipeline(make())
    settings = {"steps": 5, "guidance": 1.0, "seed": 2}
    method = ns.EditFriendly(skip=1, shift=1, lattice=False)
    code = ns.invert(model, PICTURE, SOURCE, method, **settings)
    plain = ns.invert(model, PICTURE, SOURCE, ns.EditFriendly(skip=1, lattice=False), **settings)
    assert len(code.path) == 5
    x0, grid = code.path[-1], code.grid
    torch.testing.assert_close(code.path[-2], x0, atol=0, rtol=0)
    for k in range(3):
        noise = (plain.path[k] - grid.alpha[k + 1] * x0) / grid.sigma[k + 1]
        expected = grid.alpha[k + 2] * x0 + grid.sigma[k + 2] * noise
        torch.testing.assert_close(code.path[k], expected, atol=1e-10, rtol=0)
    for lattice in (False, True):
        method = ns.EditFriendly(skip=1, shift=1, lattice=lattice)
        code = ns.invert(model, PICTURE, SOURCE, method, **settings)
        assert (ns.reconstruct(model, code).latents - x0).abs().max() < 1e-8
    edit = ns.edit(model, code, TARGET, guidance=1.5)
    assert (edit.latents - x0).abs().max() > 1e-3
    assert "shift=1" in edit.record["source"]["method"]
    with pytest.raises(InputError, match="less than the 5 steps"):
        ns.invert(model, PICTURE, SOURCE, ns.EditFriendly(shift=5), steps=5)


@pytest.mark.parametrize("make", [tiny_sd, tiny_sd3, tiny_flux])
def test_timesteps_by_name(make, tmp_path):
    model = ns.from_pipeline(double(make()))
    times = [799, 599, 399, 199]
    code = ns.invert(model, PICTURE, SOURCE, steps=times, size=32)
    assert code.grid.timesteps.tolist() == [*times, 0]
    assert (ns.reconstruct(model, code).latents - code.path[-1]).abs().max() < 1e-8
    result = ns.edit(model, code, TARGET, guidance=1.0)
    assert result.record["source"]["timesteps"] == times
    code.save(tmp_path / "code.safetensors")
    again = ns.Code.load(tmp_path / "code.safetensors")
    assert torch.equal(ns.edit(model, again, TARGET, guidance=1.0).latents, result.latents)
    sampled = ns.sample(model, SOURCE, steps=tuple(times), size=32)
    assert (sampled.record["steps"], sampled.record["timesteps"]) == (4, times)
    if make is tiny_sd:
        own = model.grid(4).timesteps[:-1].long().tolist()
        assert torch.equal(model.grid(own).alpha, model.grid(4).alpha)
        assert "timesteps" not in ns.sample(model, SOURCE, steps=4).record
    for wrong in ([], [199, 399], [5000], [100, -1], [100, 100], [10.5], [True]):
        with pytest.raises(InputError, match="timesteps must be whole numbers"):
            ns.sample(model, SOURCE, steps=wrong)


def test_timesteps_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_sd().save_pretrained("tiny")
    Image.fromarray(PICTURE).save("photo.png")
    words = ["edit", "photo.png", "--source", SOURCE, "--target", TARGET, "-o", "out.png"]
    words += ["--model", "tiny", "--device", "cpu", "--steps"]
    done = CliRunner().invoke(app, [*words, "799, 599,399,199"])
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "out.json").read_text())["pictures"][0]["record"]
    assert record["source"]["timesteps"] == [799, 599, 399, 199]
    for wrong in ("0", "a", "1.5", "-3", "199,399", "", "5,"):
        done = CliRunner().invoke(app, [*words, wrong, "--force"])
        assert done.exit_code == 2, wrong
        assert "Traceback" not in done.output
