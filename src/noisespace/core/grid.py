"""The grid of noise levels: all index arithmetic of the project lives in this one module.

Time runs noisy to clean: index 0 is the noisiest level. A state at level i is
``x = alpha[i] * x0 + sigma[i] * eps``; alpha and sigma are *amplitudes*, never alpha-bar.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from noisespace.errors import InputError

Steps = int | tuple[int, ...] | list[int]  # how many, or the timesteps themselves, noisiest first
# What diffusers.DDIMScheduler assumes of a config that leaves a key out.
DEFAULTS: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "set_alpha_to_one": True,
    "steps_offset": 0,
    "timestep_spacing": "leading",
    "rescale_betas_zero_snr": False,
}


def broadcast(values: Tensor, like: Tensor) -> Tensor:
    """Numbers () or (rows,) ready to multiply states of any rank (rows, ...), in their dtype."""
    return (
        values.to(like).view(*values.shape, *[1] * (like.ndim - 1))
        if values.ndim
        else values.to(like)
    )


@dataclass(frozen=True)
class Level:
    """Where a batch stands in the noise: one level for all rows, or one a row.

    All () or (rows,): ``index`` in its grid, a fraction where it is between two levels; ``t``, the
    timestep told to the network; ``alpha``, ``sigma``, amplitudes, float64.
    """

    index: Tensor
    t: Tensor
    alpha: Tensor
    sigma: Tensor

    def amplitudes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma, ready to multiply states x (rows, ...) of any rank."""
        return broadcast(self.alpha, x), broadcast(self.sigma, x)

    def rows(self, chosen: Tensor) -> Level:
        """The level of some rows of the batch; itself where all rows share one level."""
        if self.index.ndim == 0:
            return self
        return Level(self.index[chosen], self.t[chosen], self.alpha[chosen], self.sigma[chosen])

    def cat(self, other: Level) -> Level:
        """Two batches, one after the other; itself where all rows share one level."""
        if self.index.ndim == 0:
            return self
        pairs = zip(self._parts(), other._parts(), strict=True)
        return Level(*(torch.cat(pair) for pair in pairs))

    def _parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.index, self.t, self.alpha, self.sigma


@dataclass(frozen=True)
class Grid:
    """n steps between n + 1 noise levels: pure data.

    ``timesteps`` (n + 1,) float64: what the network is told at each level (the last one is told
    only by DDIM ascents, which evaluate it at the clean end); ``alpha``, ``sigma`` (n + 1,)
    float64. The alpha-bar table is computed in float32 exactly as diffusers computes it, then
    upcast; everything after it is float64.
    """

    timesteps: Tensor
    alpha: Tensor
    sigma: Tensor

    def __len__(self) -> int:
        """The number of steps n (there are n + 1 levels)."""
        return len(self.alpha) - 1

    def level(self, index: int | float | Tensor) -> Level:
        """One level for a whole batch (a number), or one a row (an int64 tensor (rows,)).

        A fraction is a level between two of the grid: its s = sigma / (alpha + sigma) and its
        timestep are interpolated, and it lies on the curve of its neighbours (alpha + sigma = 1 of
        a flow, alpha^2 + sigma^2 = 1 otherwise). On a flow that is exact; elsewhere the timestep is
        right to second order in the step.
        """
        if not isinstance(index, Tensor) and not 0 <= index <= len(self):
            raise InputError(f"a level must be from 0 to {len(self)}, got {index!r}")
        if isinstance(index, float) and not index.is_integer():
            return self._between(index)
        i = torch.as_tensor(index).long()
        return Level(i, self.timesteps[i], self.alpha[i], self.sigma[i])

    def _between(self, index: float) -> Level:
        i, share = int(index), index % 1
        alpha, sigma = self.alpha[i : i + 2], self.sigma[i : i + 2]
        below, above = (sigma / (alpha + sigma)).unbind()
        s = torch.lerp(below, above, share)
        power = 1 if torch.allclose(alpha + sigma, torch.ones_like(alpha)) else 2
        norm = ((1 - s) ** power + s**power) ** (1 / power)
        t = torch.lerp(self.timesteps[i], self.timesteps[i + 1], share)
        return Level(torch.tensor(index, dtype=torch.float64), t, (1 - s) / norm, s / norm)

    def first(self, skip: int | float) -> int:
        """The level that a replay starts at: an int counts skipped steps, a float is a share.

        Raises InputError for a negative skip, a share of 1 or more, and one that leaves no step.
        """
        n = len(self)
        share = isinstance(skip, float)
        known = isinstance(skip, (int, float)) and not isinstance(skip, bool)
        if not known or skip < 0 or (share and not skip < 1):
            raise InputError(
                f"skip must be a number of steps (int >= 0) or a share (float in [0, 1)), "
                f"got {skip!r}"
            )
        first = round(skip * n) if share else int(skip)
        if first >= n:
            raise InputError(
                f"skip={skip!r} leaves no step of {n}: use a smaller skip or more steps"
            )
        return first

    def top_of_climb(self, stop: int | float | None) -> int:
        """The level at which an ascent ends: ``stop`` steps, or a share of them, above clean."""
        n = len(self)
        if stop is None:
            return 0
        share = isinstance(stop, float)
        steps = round(stop * n) if share else int(stop)
        if stop < 0 or (share and stop > 1) or not 1 <= steps <= n:
            raise InputError(
                f"stop must be 1 to {n} steps (int) or a share of them (float in (0, 1]) that "
                f"leaves at least one, got {stop!r}"
            )
        return n - steps

    @classmethod
    def from_config(cls, config: Mapping[str, Any], steps: Steps, *, ddpm: bool = False) -> Grid:
        """The grid of a diffusers scheduler *config* (betas, spacing, offset, final alpha).

        ``steps``: how many, or the timesteps themselves, noisiest first.
        ``ddpm`` ends at alpha-bar 1 whatever the config says, as DDPMScheduler does;
        DDIMScheduler ends at its final_alpha_cumprod. Each level is the next timestep's own,
        as in DDPMScheduler (DDIMScheduler counts T // n down instead, the same for "leading").
        """
        config = with_defaults(config)
        bars = alpha_bars(config)
        times = timesteps_of(config, steps)
        one = torch.ones(1, dtype=torch.float64)
        final = one if ddpm or config["set_alpha_to_one"] else bars[:1]
        levels = torch.cat([bars[times], final])
        told = torch.cat([times, times.new_zeros(1)]).double()
        return cls(told, levels.sqrt(), (1 - levels).sqrt())

    @classmethod
    def flow(cls, steps: int, *, shift: float = 1.0, train_steps: int = 1000) -> Grid:
        """Rectified flow: alpha = 1 - s, sigma = s, as FlowMatchEulerDiscreteScheduler spaces s."""
        check_steps(steps, train_steps)
        lowest = shift_time(torch.tensor(1 / train_steps, dtype=torch.float64), shift)
        s = torch.linspace(1.0, float(lowest), steps, dtype=torch.float64)
        s = torch.cat([shift_time(s, shift), s.new_zeros(1)])
        return cls(s * train_steps, 1 - s, s)


def with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """A scheduler's config, whole."""
    return {**DEFAULTS, **{k: v for k, v in config.items() if v is not None}}


def shift_time(s: Tensor, shift: float) -> Tensor:
    """The time shift of SD3 (arXiv 2403.03206, eq. 23)."""
    return shift * s / (1 + (shift - 1) * s)


def check_steps(steps: int, train_steps: int) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= train_steps:
        raise InputError(
            f"steps must be a whole number from 1 to {train_steps} (the model's training steps), "
            f"got {steps!r}"
        )


def alpha_bars(config: Mapping[str, Any]) -> Tensor:
    """Cumulative alpha-bar of every training step, (T,) float64, rounded as diffusers rounds it."""
    betas = beta_table(config)
    if config["rescale_betas_zero_snr"]:
        betas = zero_terminal_snr(betas)
    return torch.cumprod(1.0 - betas, dim=0).double()


def beta_table(config: Mapping[str, Any]) -> Tensor:
    """The betas of a diffusers config, (T,) float32."""
    count, kind = config["num_train_timesteps"], config["beta_schedule"]
    lo, hi = config["beta_start"], config["beta_end"]
    if config["trained_betas"] is not None:
        return torch.tensor(config["trained_betas"], dtype=torch.float32)
    if kind == "linear":
        return torch.linspace(lo, hi, count, dtype=torch.float32)
    if kind == "scaled_linear":
        return torch.linspace(lo**0.5, hi**0.5, count, dtype=torch.float32) ** 2
    if kind == "squaredcos_cap_v2":
        bar = [math.cos((i / count + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(count + 1)]
        betas = [min(1 - b / a, 0.999) for a, b in pairwise(bar)]
        return torch.tensor(betas, dtype=torch.float32)
    if kind == "sigmoid":
        return torch.sigmoid(torch.linspace(-6, 6, count)) * (hi - lo) + lo
    raise InputError(
        f"beta_schedule {kind!r} is not known: expected linear, scaled_linear, "
        "squaredcos_cap_v2 or sigmoid in the scheduler's config"
    )


def zero_terminal_snr(betas: Tensor) -> Tensor:
    """Rescales betas so that the noisiest level holds no signal (arXiv 2305.08891, Alg. 1)."""
    root = torch.cumprod(1.0 - betas, dim=0).sqrt()
    start, end = root[0].clone(), root[-1].clone()
    bars = ((root - end) * (start / (start - end))) ** 2
    alphas = torch.cat([bars[:1], bars[1:] / bars[:-1]])
    return 1 - alphas


def check_timesteps(times: Sequence[int], train_steps: int) -> Tensor:
    """Timesteps as they are given, (steps,) int64; InputError where they do not descend."""
    whole = all(isinstance(t, int) and not isinstance(t, bool) for t in times)
    bounds = (train_steps, *times, -1)
    if not times or not whole or any(before <= t for before, t in pairwise(bounds)):
        raise InputError(
            f"timesteps must be whole numbers from {train_steps - 1} to 0, each smaller than the "
            f"one before, got {list(times)!r}"
        )
    return torch.tensor(list(times))


def timesteps_of(config: Mapping[str, Any], steps: Steps) -> Tensor:
    """The timesteps told to the network, noisiest first, (steps,) int64."""
    count, spacing = config["num_train_timesteps"], config["timestep_spacing"]
    if isinstance(steps, tuple | list):
        return check_timesteps(steps, count)
    check_steps(steps, count)
    i = torch.arange(steps, dtype=torch.float64)
    if spacing == "linspace":
        times = torch.linspace(0, count - 1, steps, dtype=torch.float64).round().flip(0)
    elif spacing == "leading":
        ratio = count // steps
        # The offset is cut where it would leave the table (n = T): diffusers fails there.
        offset = min(config["steps_offset"], count - 1 - (steps - 1) * ratio)
        times = (i * ratio).flip(0) + offset
    elif spacing == "trailing":
        times = (count - i * (count / steps)).round() - 1
    elif spacing == "lcm":  # among those that the network was distilled at (arXiv 2310.04378)
        known = config.get("original_inference_steps") or 50
        check_steps(steps, known)
        own = (torch.arange(known) + 1).flip(0) * (count // known) - 1
        times = own[(i * (known / steps)).floor().long()]
    else:
        raise InputError(
            f"timestep_spacing {spacing!r} is not known: expected leading, trailing or linspace"
        )
    return times.long()
