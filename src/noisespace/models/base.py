"""The boundary to a model: pixels and prompts in, latents and predictions out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from noisespace.denoiser import Site, Text, Touch
from noisespace.prediction import Prediction
from noisespace.schedule import Grid, Level


class Model(Protocol):
    """What the loop needs of a model. It keeps no state between calls.

    ``name``: how it was asked for; ``fingerprint``: a hash of its weights and configuration;
    ``resolution``: the shorter side of its pictures in pixels and ``multiple`` what both sides must
    be multiples of; ``channels`` and ``factor``: latents are (b, channels, h/factor, w/factor);
    ``has_text``: whether prompts mean anything; ``defaults``: settings stored with the model;
    ``state``: the dtype of states, float32 or wider; ``device`` where it runs.
    """

    name: str
    fingerprint: str
    resolution: int
    multiple: int
    channels: int
    factor: int
    has_text: bool
    defaults: Mapping[str, Any]
    state: torch.dtype
    dtype: torch.dtype
    device: torch.device

    def grid(self, steps: int) -> Grid:
        """The model's noise schedule in that many steps."""
        ...

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels (b, 3, h, w) in [-1, 1] as latents, the mode of the posterior: no randomness."""
        ...

    def decode(self, x: Tensor) -> Tensor:
        """Latents as pixels (b, 3, h, w), about [-1, 1]; differentiable where gradients are on."""
        ...

    def embed(self, prompts: Sequence[str]) -> Text:
        """Prompts as embeddings; "" is the null text."""
        ...

    def denoise(
        self, x: Tensor, level: Level, text: Text, touch: Touch | None = None
    ) -> Prediction:
        """The network (a Denoiser)."""
        ...

    def sites(self) -> tuple[Site, ...]:
        """The places inside the network that controls can touch; () where there are none."""
        ...


@dataclass(frozen=True)
class Around:
    """Something around a model that is a model again; what it does not define is the model's."""

    model: Any

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "model":  # while it is copied there is none yet
            raise AttributeError(name)
        return getattr(self.model, name)
