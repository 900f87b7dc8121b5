"""Gaussian mixtures with their exact score: what a perfectly trained network would answer."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from noisespace.core.backbone import Denoiser, Mixing, affine
from noisespace.core.condition import TEXT, Condition
from noisespace.core.controls import HookContext, Site
from noisespace.core.grid import Grid, Level, Steps
from noisespace.core.prediction import Prediction
from noisespace.errors import InputError


@dataclass(frozen=True)
class Mixture:
    """A mixture of Gaussians N(mean_k, std^2 I) over states (c, h, w), with its exact denoiser.

    ``means``: prompt -> mean (c, h, w); a prompt conditions on its component and "" (the null text)
    leaves the whole mixture. With one component this is the Gaussian of the two-dimensional
    example of arXiv 2304.06140: ``Mixture({"": torch.full((2, 1, 1), 10.0)})``. States are points,
    so ``encode`` and ``decode`` are the identity.
    """

    means: Mapping[str, Tensor]
    std: float = 1.0
    scheduler: Mapping[str, Any] = field(default_factory=lambda: {"beta_schedule": "linear"})

    name: ClassVar[str] = "analytic"
    resolution: ClassVar[int] = 1
    multiple: ClassVar[int] = 1
    factor: ClassVar[int] = 1
    has_text: ClassVar[bool] = True
    has_guidance: ClassVar[bool] = True
    renoises: ClassVar[bool] = False
    paints: ClassVar[bool] = False
    quantised: ClassVar[bool] = False
    has_null: ClassVar[bool] = True
    defaults: ClassVar[Mapping[str, Any]] = {}
    state_dtype: ClassVar[torch.dtype] = torch.float64
    network: ClassVar[None] = None
    speed: ClassVar[Mapping[str, Any]] = {}
    additions: ClassVar[Mapping[str, Any]] = {}
    alignment_folder: ClassVar[None] = None
    dtype: ClassVar[torch.dtype] = torch.float64
    compute_dtype: ClassVar[torch.dtype] = torch.float64
    device: ClassVar[torch.device] = torch.device("cpu")

    @property
    def channels(self) -> int:
        return next(iter(self.means.values())).shape[0]

    @property
    def fingerprint(self) -> str:
        parts = [(k, v.double().tolist()) for k, v in self.means.items()]
        return hashlib.sha256(repr((parts, self.std, dict(self.scheduler))).encode()).hexdigest()

    def grid(self, steps: Steps, size: tuple[int, int] | None = None) -> Grid:
        return Grid.from_config(self.scheduler, steps)

    def encode(self, pixels: Tensor) -> Tensor:
        return pixels

    def decode(self, x: Tensor) -> Tensor:
        return x

    def embed(self, prompts: Sequence[str | None]) -> Condition:
        """Each prompt as the log weights of the components, (rows, 1, k)."""
        names = list(self.means)
        rows = torch.full((len(prompts), 1, len(names)), -math.inf, dtype=torch.float64)
        for row, prompt in zip(rows, prompts, strict=True):
            if not prompt:
                row[:] = 0.0
            elif prompt in self.means:
                row[:, names.index(prompt)] = 0.0
            else:
                raise InputError(f"prompt {prompt!r} is no component; expected one of {names}")
        return Condition({TEXT: rows}, tuple(prompt or "" for prompt in prompts))

    def denoise(
        self, x: Tensor, level: Level, condition: Condition, hooks: HookContext | None = None
    ) -> Prediction:
        """E[x0 | x] in closed form, and the eps that goes with it."""
        x = x[:, None]
        alpha, sigma = level.amplitudes(x)
        means = torch.stack(list(self.means.values())).to(x)[None]  # (1, k, c, h, w)
        total = (alpha * self.std) ** 2 + sigma**2  # Var[x | k]
        away = x - alpha * means
        log = condition.embedding[:, 0].to(x) - (away**2 / (2 * total)).flatten(2).sum(2)
        weight = log.softmax(1).view(*log.shape, *[1] * (x.ndim - 2))
        gain = alpha * self.std**2 / total
        x0 = (weight * (means + gain * away)).sum(1)
        # the score in closed form: no division by sigma, so that the clean level is right too
        eps = (sigma * weight * away / total).sum(1)
        return Prediction(x0, eps)

    def without_compilation(self) -> Mixture:
        return self

    def begin(self) -> Denoiser:
        return self.denoise

    @property
    def mixing(self) -> Mixing:
        return affine

    def guide(self, guided: Denoiser) -> Denoiser:
        return guided

    def sites(self) -> tuple[Site, ...]:
        """None: the score is a formula, not a network."""
        return ()
