"""The boundary between the loop and a network: ``(x, level, condition, hooks) -> Prediction``."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from noisespace.core.condition import Condition
from noisespace.core.controls import HookContext, Site
from noisespace.core.grid import Level
from noisespace.core.prediction import Prediction


class Denoiser(Protocol):
    """A function of states (rows, c, h, w) that predicts what is picture in them and what noise."""

    def __call__(
        self, x: Tensor, level: Level, condition: Condition, hooks: HookContext | None = None
    ) -> Prediction: ...


class Mixing(Protocol):
    """Predictions under the null text and the text, both at states x, as one under guidance.

    ``w``: one weight a row, with as many dimensions as x, or one for all.
    """

    def __call__(
        self, null: Prediction, text: Prediction, w: Tensor | float, x: Tensor, level: Level
    ) -> Prediction: ...


def affine(
    null: Prediction, text: Prediction, w: Tensor | float, x: Tensor, level: Level
) -> Prediction:
    """Classifier-free guidance, null + w (text - null) (arXiv 2207.12598): nearly all's mixing."""
    return null.map(text, lambda a, b: a + w * (b - a))


class Backbone(Protocol):
    """A network with everything that is its own business behind it.

    Parameterisation, sign, time scale, packing of latents, dtype and attention end here. What a
    family's network cannot do it refuses by InputError; it keeps no state between calls, and what
    the hooks of one call change no other call sees.
    """

    def denoise(
        self, x: Tensor, level: Level, condition: Condition, hooks: HookContext | None = None
    ) -> Prediction:
        """The network (a Denoiser)."""
        ...

    def begin(self) -> Denoiser:
        """The denoiser of one replay, which may remember earlier steps (cached features)."""
        ...

    @property
    def mixing(self) -> Mixing:
        """The guidance that its pipeline has: `affine`, or another (Qwen-Image keeps the norm)."""
        ...

    def guide(self, guided: Denoiser) -> Denoiser:
        """What the model adds to a denoiser that is already under the prompt's guidance."""
        ...

    def sites(self) -> tuple[Site, ...]:
        """The places inside the network that controls can change; () where there are none."""
        ...
