"""Noise schedules, as the configs of diffusers' schedulers describe them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from noisespace.core.grid import (
    Grid,
    Steps,
    alpha_bars,
    check_steps,
    check_timesteps,
    with_defaults,
)
from noisespace.core.prediction import Kind
from noisespace.errors import InputError

BETAS = re.compile(
    r"(Flax)?(DDIM|DDPM|PNDM|LMSDiscrete|Euler|Heun|DPM|KDPM|DEIS|UniPC|LCM|TCD)\w*$"
)
FLOWS = re.compile(r"FlowMatch(Euler|Heun)DiscreteScheduler$")
ENDED = re.compile("DDIM|PNDM|TCD")  # those that read set_alpha_to_one
CLIPPING = re.compile("DDIM|DDPM|LCM|TCD|Heun")  # those that read clip_sample
THRESHOLDING = re.compile("DDIM|DDPM|LCM|TCD|DPM|DEIS|UniPC")
# In a config: how its noise levels are spaced, in the place of its times
SPACINGS = ("use_karras_sigmas", "use_exponential_sigmas")
UNKNOWN_SPACINGS = ("use_beta_sigmas", "use_lu_lambdas")


@dataclass(frozen=True)
class Schedule:
    """A noise schedule: a diffusers scheduler's class by name, and its config.

    Its betas, spacing, final level and prediction type, or its flow's shift, are what a grid is
    made of. Solvers, clipping of samples and thresholds are the scheduler's own affair: an
    inversion is exact without them alone.
    """

    name: str
    config: Mapping[str, Any]

    @classmethod
    def of(cls, scheduler: Any) -> Schedule:
        """Of a scheduler in memory. Raises InputError for one whose levels are not known here."""
        name = type(scheduler).__name__
        check_scheduler(name)
        kept = {k: v for k, v in scheduler.config.items() if not k.startswith("_")}
        if not (FLOWS.match(name) or "beta_schedule" in kept):
            raise InputError(f"the scheduler {name} has no betas: it is not supported")
        if found := [key for key in UNKNOWN_SPACINGS if kept.get(key)]:
            raise InputError(
                f"the scheduler {name} spaces its noise levels by {found[0]}, which is not "
                f"supported; set {found[0]} to false in its config"
            )
        if kept.get("use_flow_sigmas"):
            kept["shift"] = kept.get("flow_shift") or 1.0
        return cls(name, kept)

    @property
    def flows(self) -> bool:
        return bool(FLOWS.match(self.name) or self.config.get("use_flow_sigmas"))

    @property
    def kind(self) -> Kind:
        """What the network predicts."""
        kind = self.config.get("prediction_type") or "epsilon"
        return "flow" if self.flows else kind

    @property
    def turbo(self) -> bool:
        """Whether it is the scheduler that SD-Turbo and SDXL-Turbo are published with."""
        trailing = self.config.get("timestep_spacing") == "trailing"
        return self.name == "EulerAncestralDiscreteScheduler" and trailing

    @property
    def clipping(self) -> tuple[str, ...]:
        """What its scheduler does to the predicted picture at each step, which no grid holds."""
        asked = {"clip_sample": CLIPPING, "thresholding": THRESHOLDING}
        return tuple(k for k, who in asked.items() if who.match(self.name) and self.config.get(k))

    @property
    def renoises(self) -> bool:
        """Whether its samples are noised anew at each level, as consistency models want it."""
        return self.name.startswith("LCM")

    def grid(self, steps: Steps, tokens: int = 0, *, own_spacing: bool = False) -> Grid:
        """Its grid, of so many steps or of the timesteps themselves.

        ``tokens`` of a picture, for a flow whose shift goes with the picture's size;
        ``own_spacing``: times 1 to 1/n, as Flux's pipeline hands them to its scheduler.
        """
        if self.flows:
            return flow_grid(self.config, steps, tokens, own_spacing)
        own: dict[str, Any] = {}
        if not ENDED.match(self.name):  # whatever an earlier scheduler left in its config
            own["set_alpha_to_one"] = self.config.get("final_sigmas_type") != "sigma_min"
        if self.renoises:
            own = {"timestep_spacing": "lcm", "set_alpha_to_one": True}
        config = {**self.config, **own}
        grid = Grid.from_config(config, steps, ddpm=self.name == "DDPMScheduler")
        spaced = not isinstance(steps, tuple | list) and any(config.get(key) for key in SPACINGS)
        return spaced_grid(config, grid) if spaced else grid


def check_scheduler(name: str) -> None:
    """Raises InputError for a scheduler whose noise levels cannot be read."""
    if not (BETAS.match(name) or FLOWS.match(name)):
        raise InputError(
            f"the scheduler {name} is not supported; expected one with betas (DDIM, DDPM, PNDM, "
            "Euler, DPM-Solver, UniPC, LCM ...) or FlowMatchEulerDiscreteScheduler"
        )


def spaced_grid(config: Mapping[str, Any], base: Grid) -> Grid:
    """A grid with its noise levels spaced in the place of its times, between the same ends.

    By r = sigma/alpha: evenly in r**(1/7) (Karras, arXiv 2206.00364, eq. 5), or in log r. The
    network is told the time at which its training had that level, between two where it had none.
    """
    ratios = base.sigma / base.alpha.clamp(min=2**-12)  # of no signal: diffusers' own bound
    first = float(config.get("sigma_max") or ratios[0])
    last = float(config.get("sigma_min") or ratios[-2])
    if config.get("use_karras_sigmas"):
        ratio = np.linspace(first ** (1 / 7), last ** (1 / 7), len(base)) ** 7
    else:
        ratio = np.geomspace(first, last, len(base))
    bars = alpha_bars(with_defaults(config)).clamp(min=2**-24)
    known = ((1 - bars) / bars).log().numpy() / 2
    told = np.append(np.interp(np.log(ratio), known, np.arange(len(known))), base.timesteps[-1])
    ratio = torch.from_numpy(np.append(ratio, ratios[-1]))
    alpha = (1 + ratio**2).rsqrt()
    return Grid(torch.from_numpy(told), alpha, ratio * alpha)


def flow_grid(config: Mapping[str, Any], steps: Steps, tokens: int, own_spacing: bool) -> Grid:
    """The levels of a FlowMatchEulerDiscreteScheduler, which are those of diffusers by making.

    Timesteps as they are given are told to the network, and shifted by nothing.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler

    if isinstance(steps, tuple | list):
        count = config.get("num_train_timesteps", 1000)
        told = torch.cat([check_timesteps(steps, count + 1), torch.zeros(1)]).double()
        return Grid(told, 1 - told / count, told / count)
    check_steps(steps, config.get("num_train_timesteps", 1000))
    scheduler: Any = FlowMatchEulerDiscreteScheduler.from_config(dict(config))
    options: dict[str, Any] = {}
    if scheduler.config["use_dynamic_shifting"]:
        options["mu"] = dynamic_shift(scheduler.config, tokens)
    if own_spacing:
        options["sigmas"] = np.linspace(1.0, 1 / steps, steps)
    scheduler.set_timesteps(steps, **options)
    s = scheduler.sigmas.double()
    told = scheduler.timesteps.double()
    return Grid(torch.cat([told, told.new_zeros(1)]), 1 - s, s)


def dynamic_shift(config: Mapping[str, Any], tokens: int) -> float:
    """mu of a picture of so many tokens: linear between those of two sizes."""
    low, high = config["base_image_seq_len"], config["max_image_seq_len"]
    slope = (config["max_shift"] - config["base_shift"]) / (high - low)
    return tokens * slope + config["base_shift"] - slope * low
