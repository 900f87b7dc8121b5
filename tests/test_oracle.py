"""Whole trajectories equal diffusers' own samplers, given the same network and the same noise."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

import noisespace as ns
from tiny import double, tiny_pixels, tiny_sd

PROMPT, STEPS, SEED = "a photo of a cat", 10, 3


def draws(shape):
    """The noise of a seed in the order of use: the start, then one map a step."""
    generator = torch.Generator().manual_seed(SEED)
    while True:
        yield torch.randn(shape, generator=generator, dtype=torch.float64)[None]


def theirs(pipe, w, step):
    """diffusers' denoising loop with classifier-free guidance; ``step`` is the scheduler's."""
    model = ns.from_pipeline(pipe)
    text = model.embed(["", PROMPT]).embedding
    noise = draws((4, 8, 8))
    x = next(noise)
    pipe.scheduler.set_timesteps(STEPS)
    for t in pipe.scheduler.timesteps:
        with torch.no_grad():
            null, told = pipe.unet(x.repeat(2, 1, 1, 1), t, text).sample.chunk(2)
        x = step(null + w * (told - null), t, x, noise)
    return x


# Not linspace: there DDIMScheduler steps to t - T // n, which is not its own next timestep.
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_ddim(kind, eta, spacing):
    pipe = double(tiny_sd(prediction_type=kind, timestep_spacing=spacing))
    scheduler = pipe.scheduler

    def step(out, t, x, noise):
        variance = next(noise) if eta else None
        return scheduler.step(out, t, x, eta=eta, variance_noise=variance).prev_sample

    expected = theirs(pipe, 3.0, step)
    got = ns.sample(
        ns.from_pipeline(pipe), PROMPT, steps=STEPS, guidance=3.0, eta=eta, seed=SEED
    ).latents
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_ddpm(kind, spacing):
    pipe = double(tiny_sd())
    options = {"prediction_type": kind, "timestep_spacing": spacing}
    pipe.scheduler = DDPMScheduler.from_config(pipe.scheduler.config, **options)

    def step(out, t, x, noise):
        generator = torch.Generator()
        drawn = next(noise)
        mean = pipe.scheduler.step(out, t, x, generator=generator.manual_seed(0)).prev_sample
        again = torch.randn(x.shape, generator=generator.manual_seed(0), dtype=x.dtype)
        # the scheduler adds std * noise: take its own noise off and add ours
        std = pipe.scheduler._get_variance(t) ** 0.5 if t > 0 else 0.0
        return mean + std * (drawn - again)

    expected = theirs(pipe, 3.0, step)
    model = ns.from_pipeline(pipe)
    got = ns.sample(model, PROMPT, steps=STEPS, guidance=3.0, eta=1.0, seed=SEED).latents
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_ddim_in_pixels():
    pipe = double(tiny_pixels())
    scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    x = next(draws((3, 16, 16)))
    scheduler.set_timesteps(STEPS)
    for t in scheduler.timesteps:
        with torch.no_grad():
            x = scheduler.step(pipe.unet(x, t).sample, t, x).prev_sample
    pipe.scheduler = scheduler
    got = ns.sample(ns.from_pipeline(pipe), steps=STEPS, seed=SEED).latents
    torch.testing.assert_close(got, x, atol=1e-5, rtol=1e-5)


def test_the_comparison_can_fail():
    pipe = double(tiny_sd())
    expected = theirs(pipe, 3.0, lambda o, t, x, _: pipe.scheduler.step(o, t, x).prev_sample)
    model = ns.from_pipeline(pipe)
    for wrong in ({"guidance": 3.1}, {"eta": 0.1}, {"steps": 11}, {"seed": 4}):
        options = {"steps": STEPS, "guidance": 3.0, "seed": SEED, **wrong}
        away = (ns.sample(model, PROMPT, **options).latents - expected).abs().max()
        assert away > 1e-3, wrong
