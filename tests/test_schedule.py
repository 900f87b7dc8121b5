"""Grids equal diffusers' schedulers; steps equal their steps."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler

from noisespace.core.grid import Grid
from noisespace.core.prediction import Prediction
from noisespace.core.transition import posterior, renoise
from noisespace.errors import InputError

ALL_GRIDS = [
    {"timestep_spacing": spacing, "beta_schedule": betas, **extra}
    for spacing in ("leading", "trailing", "linspace")
    for betas in ("linear", "scaled_linear", "squaredcos_cap_v2")
    for extra in (
        {},
        {"set_alpha_to_one": False, "steps_offset": 1},
        {"rescale_betas_zero_snr": True},
    )
]
COUNTS = (1, 7, 10, 20, 50, 100, 999)


@pytest.mark.parametrize("steps", COUNTS)
@pytest.mark.parametrize("config", ALL_GRIDS, ids=str)
def test_grid_equals_ddim_scheduler(config, steps):
    scheduler = DDIMScheduler(**config)
    scheduler.set_timesteps(steps)
    grid = Grid.from_config(dict(scheduler.config), steps)
    assert grid.timesteps[:-1].long().tolist() == scheduler.timesteps.tolist()
    bars = scheduler.alphas_cumprod[scheduler.timesteps].double()
    torch.testing.assert_close(grid.alpha[:-1] ** 2, bars, atol=1e-12, rtol=0)
    final = torch.as_tensor(scheduler.final_alpha_cumprod).double()
    torch.testing.assert_close(grid.alpha[-1] ** 2, final, atol=1e-12, rtol=0)
    torch.testing.assert_close(grid.alpha**2 + grid.sigma**2, torch.ones(steps + 1).double())
    # DDIMScheduler steps to t - T // n, which is its next timestep only where n divides T
    if 1000 % steps == 0 and config["timestep_spacing"] != "linspace":
        for i, t in enumerate(scheduler.timesteps):
            before = int(t) - 1000 // steps
            bar = scheduler.alphas_cumprod[before].double() if before >= 0 else final
            torch.testing.assert_close(grid.alpha[i + 1] ** 2, bar, atol=1e-12, rtol=0)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_all_thousand_steps(spacing):
    scheduler = DDIMScheduler(timestep_spacing=spacing)
    scheduler.set_timesteps(1000)
    grid = Grid.from_config(dict(scheduler.config), 1000)
    assert grid.timesteps[:-1].tolist() == scheduler.timesteps.tolist() == list(range(999, -1, -1))
    bars = scheduler.alphas_cumprod.double().flip(0)
    torch.testing.assert_close(grid.alpha[:-1] ** 2, bars, atol=1e-12, rtol=0)
    assert grid.alpha[-1] == 1


@pytest.mark.parametrize("betas", ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("steps", COUNTS)
def test_grid_equals_ddpm_scheduler(spacing, steps, betas):
    scheduler = DDPMScheduler(timestep_spacing=spacing, beta_schedule=betas)
    scheduler.set_timesteps(steps)
    grid = Grid.from_config(dict(scheduler.config), steps, ddpm=True)
    assert grid.timesteps[:-1].long().tolist() == scheduler.timesteps.tolist()
    for i, t in enumerate(scheduler.timesteps):
        before = scheduler.previous_timestep(t)
        bar = scheduler.alphas_cumprod[before].double() if before >= 0 else torch.tensor(1.0)
        torch.testing.assert_close(grid.alpha[i + 1] ** 2, bar.double(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_grid_equals_flow_scheduler(shift):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(12)
    grid = Grid.flow(12, shift=shift)
    torch.testing.assert_close(grid.sigma, scheduler.sigmas.double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(grid.timesteps[:-1], scheduler.timesteps.double(), atol=1e-3, rtol=0)


def test_thousand_steps_with_offset_stay_in_the_table():
    grid = Grid.from_config({"steps_offset": 1}, 1000)
    assert grid.timesteps.max() == 999


@pytest.mark.parametrize("steps", [0, -1, 1001, 2.5, True, "10"])
def test_bad_steps(steps):
    with pytest.raises(InputError, match="steps must be"):
        Grid.from_config({}, steps)


@pytest.mark.parametrize(("skip", "first"), [(0, 0), (0.36, 36), (36, 36), (99, 99), (0.0, 0)])
def test_skip(skip, first):
    assert Grid.from_config({}, 100).first(skip) == first


@pytest.mark.parametrize("skip", [100, 101, 1.0, -1, 0.999])
def test_skip_that_leaves_no_step(skip):
    with pytest.raises(InputError, match="skip"):
        Grid.from_config({}, 100).first(skip)


def random_step(kind, eta, scheduler, i=3):
    generator = torch.Generator().manual_seed(0)
    x, out, noise = (torch.randn(2, 4, 8, 8, generator=generator).double() for _ in range(3))
    scheduler.set_timesteps(20)
    grid = Grid.from_config(dict(scheduler.config), 20)
    at, to = grid.level(i), grid.level(i + 1)
    mean, std = posterior(Prediction.from_output(kind, out, x, at), at, to, eta)
    return x, out, noise, mean + std * noise, scheduler.timesteps[i]


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_step_equals_ddim_scheduler(kind, eta):
    scheduler = DDIMScheduler(prediction_type=kind, clip_sample=False)
    x, out, noise, ours, t = random_step(kind, eta, scheduler)
    theirs = scheduler.step(out, t, x, eta=eta, variance_noise=noise).prev_sample
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_eta_one_is_ddpm():
    scheduler = DDPMScheduler(clip_sample=False)
    scheduler.set_timesteps(20)
    x, out, _, _, t = random_step("epsilon", 1.0, DDIMScheduler(clip_sample=False))
    grid = Grid.from_config({}, 20)
    at, to = grid.level(3), grid.level(4)
    mean, std = posterior(Prediction.from_output("epsilon", out, x, at), at, to, 1.0)
    drawn = torch.Generator().manual_seed(5)
    theirs = scheduler.step(out, t, x, generator=drawn).prev_sample
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(5), dtype=x.dtype)
    torch.testing.assert_close(mean + std * noise, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample", "flow"])
def test_both_views_make_the_state_again(kind):
    grid = Grid.flow(10) if kind == "flow" else Grid.from_config({}, 10)
    level = grid.level(torch.tensor([2, 5]))
    x, out = torch.randn(2, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    prediction = Prediction.from_output(kind, out, x, level)
    torch.testing.assert_close(renoise(prediction, level), x)


@pytest.mark.parametrize("eta", [-0.1, 1.1, float("nan"), "1", True])
def test_bad_eta(eta):
    grid = Grid.from_config({}, 10)
    x = torch.zeros(1, 1, 1, 1)
    with pytest.raises(InputError, match="eta"):
        posterior(Prediction(x, x), grid.level(0), grid.level(1), eta)


def test_no_signal_says_what_to_do():
    grid = Grid.from_config({"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}, 10)
    x = torch.zeros(1, 1, 1, 1)
    with pytest.raises(InputError, match="v-prediction"):
        Prediction.from_output("epsilon", x, x, grid.level(0))
    Prediction.from_output("v_prediction", x, x, grid.level(0))
