"""Gaussian mixtures with their exact score: what a perfectly trained network would answer."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from noisespace.denoiser import Site, Text, Touch
from noisespace.errors import InputError
from noisespace.prediction import Prediction
from noisespace.schedule import Grid, Level


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
    defaults: ClassVar[Mapping[str, Any]] = {}
    state: ClassVar[torch.dtype] = torch.float64
    dtype: ClassVar[torch.dtype] = torch.float64
    device: ClassVar[torch.device] = torch.device("cpu")

    @property
    def channels(self) -> int:
        return next(iter(self.means.values())).shape[0]

    @property
    def fingerprint(self) -> str:
        parts = [(k, v.double().tolist()) for k, v in self.means.items()]
        return hashlib.sha256(repr((parts, self.std, dict(self.scheduler))).encode()).hexdigest()

    def grid(self, steps: int) -> Grid:
        return Grid.from_config(self.scheduler, steps)

    def encode(self, pixels: Tensor) -> Tensor:
        return pixels

    def decode(self, x: Tensor) -> Tensor:
        return x

    def embed(self, prompts: Sequence[str]) -> Text:
        """Each prompt as the log weights of the components, (rows, 1, k)."""
        names = list(self.means)
        rows = torch.full((len(prompts), 1, len(names)), -math.inf, dtype=torch.float64)
        for row, prompt in zip(rows, prompts, strict=True):
            if prompt == "":
                row[:] = 0.0
            elif prompt in self.means:
                row[:, names.index(prompt)] = 0.0
            else:
                raise InputError(f"prompt {prompt!r} is no component; expected one of {names}")
        return Text(rows, tuple(prompts))

    def denoise(
        self, x: Tensor, level: Level, text: Text, touch: Touch | None = None
    ) -> Prediction:
        """E[x0 | x] in closed form, and the eps that goes with it."""
        alpha, sigma = level.alpha.to(x), level.sigma.to(x)
        means = torch.stack(list(self.means.values())).to(x)[None]  # (1, k, c, h, w)
        total = ((alpha * self.std) ** 2 + sigma**2).reshape(-1, 1, 1, 1, 1)  # Var[x | k]
        away = x[:, None] - alpha.reshape(-1, 1, 1, 1, 1) * means
        log = text.embedding[:, 0].to(x) - (away**2 / (2 * total)).sum((2, 3, 4))
        weight = log.softmax(1)[:, :, None, None, None]
        gain = alpha.reshape(-1, 1, 1, 1, 1) * self.std**2 / total
        x0 = (weight * (means + gain * away)).sum(1)
        # the score in closed form: no division by sigma, so that the clean level is right too
        eps = sigma * (weight * away / total).sum(1)
        return Prediction(x0, eps)

    def sites(self) -> tuple[Site, ...]:
        """None: the score is a formula, not a network."""
        return ()
