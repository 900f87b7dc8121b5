"""Noise schedules, as the configs of diffusers' schedulers describe them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from noisespace.core.grid import Grid, check_steps
from noisespace.core.prediction import Kind
from noisespace.errors import InputError

BETAS = re.compile(
    r"(Flax)?(DDIM|DDPM|PNDM|LMSDiscrete|Euler|Heun|DPM|KDPM|DEIS|UniPC|LCM|TCD)\w*$"
)
FLOWS = re.compile(r"FlowMatch(Euler|Heun)DiscreteScheduler$")


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
    def renoises(self) -> bool:
        """Whether its samples are noised anew at each level, as consistency models want it."""
        return self.name.startswith("LCM")

    def grid(self, steps: int, tokens: int = 0, *, own_spacing: bool = False) -> Grid:
        """Its grid. ``tokens`` of a picture, for a flow whose shift goes with the picture's size;
        ``own_spacing``: times 1 to 1/n, as Flux's pipeline hands them to its scheduler.
        """
        if self.flows:
            return flow_grid(self.config, steps, tokens, own_spacing)
        bars = self.config.get("final_sigmas_type") == "sigma_min"
        ending = {"set_alpha_to_one": False} if bars else {}
        own = {"timestep_spacing": "lcm", "set_alpha_to_one": True} if self.renoises else {}
        config = {**self.config, **ending, **own}
        return Grid.from_config(config, steps, ddpm=self.name == "DDPMScheduler")


def check_scheduler(name: str) -> None:
    """Raises InputError for a scheduler whose noise levels cannot be read."""
    if not (BETAS.match(name) or FLOWS.match(name)):
        raise InputError(
            f"the scheduler {name} is not supported; expected one with betas (DDIM, DDPM, PNDM, "
            "Euler, DPM-Solver, UniPC, LCM ...) or FlowMatchEulerDiscreteScheduler"
        )


def flow_grid(config: Mapping[str, Any], steps: int, tokens: int, own_spacing: bool) -> Grid:
    """The levels of a FlowMatchEulerDiscreteScheduler, which are those of diffusers by making."""
    from diffusers import FlowMatchEulerDiscreteScheduler

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
