"""The boundary to a model: pixels and prompts in, latents and predictions out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from noisespace.core.backbone import Backbone, Denoiser
from noisespace.core.condition import Condition
from noisespace.core.grid import Grid, Steps


class Model(Backbone, Protocol):
    """What the loop needs of a model. It keeps no state between calls.

    ``name``: how it was asked for; ``fingerprint``: a hash of its weights and configuration;
    ``resolution``: the shorter side of its pictures in pixels and ``multiple`` what both sides must
    be multiples of; ``channels`` and ``factor``: latents are (b, channels, h/factor, w/factor);
    ``has_text``: whether prompts mean anything, ``has_null``: whether a null text does, which a
    network knows nothing of that is told its guidance, ``has_guidance``: whether there is any;
    ``quantised``: whether its network goes without gradients; ``paints``: whether it is told a mask
    and a picture (an inpainting network); ``renoises``: whether its samples are noised anew at each
    step (consistency models); ``defaults``: settings of its own;
    ``state_dtype``: the dtype of states, float32 or wider; ``dtype`` of the weights and
    ``compute_dtype`` of the network's arithmetic; ``device`` where it runs; ``speed``:
    what a record says of its speed-ups, ``additions`` of what was added to it (LoRAs ...);
    ``alignment_folder``: of the alignment model it brings.
    """

    name: str
    fingerprint: str
    resolution: int
    multiple: int
    channels: int
    factor: int
    has_text: bool
    has_null: bool
    has_guidance: bool
    paints: bool
    quantised: bool
    renoises: bool
    defaults: Mapping[str, Any]
    state_dtype: torch.dtype
    dtype: torch.dtype
    compute_dtype: torch.dtype
    device: torch.device
    speed: Mapping[str, Any]
    additions: Mapping[str, Any]
    alignment_folder: Path | None

    def without_compilation(self) -> Any:
        """The model with its network called itself: compiled code would see no adapter's hooks."""
        ...

    def grid(self, steps: Steps, size: tuple[int, int] | None = None) -> Grid:
        """The model's noise schedule in that many steps, or at those timesteps.

        For states of a size, its own by default: height and width matter to flows whose shift goes
        with the number of tokens.
        """
        ...

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels (b, 3, h, w) in [-1, 1] as latents, the mode of the posterior: no randomness."""
        ...

    def decode(self, x: Tensor) -> Tensor:
        """Latents as pixels (b, 3, h, w), about [-1, 1]; differentiable where gradients are on."""
        ...

    def unpainted(self, size: tuple[int, int]) -> Tensor:
        """What an inpainting network is told where all may change, (1, 1 + c, h, w)."""
        ...

    def embed(self, prompts: Sequence[str | None]) -> Condition:
        """Prompts as embeddings; None is the null text: "", or zeros where a family has it so."""
        ...

    @property
    def network(self) -> Any:
        """The module that ``denoise`` evaluates, None where there is none (an analytic model)."""
        ...


@dataclass(frozen=True)
class ModelWrapper:
    """Something around a model that is a model again; what it does not define is the model's."""

    model: Any

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "model":  # while it is copied there is none yet
            raise AttributeError(name)
        return getattr(self.model, name)

    def begin(self) -> Denoiser:
        """In full: only what knows how to remember steps does (see ``models.caching``)."""
        return self.denoise

    def guide(self, guided: Denoiser) -> Denoiser:
        return self.model.guide(guided)

    def without_compilation(self) -> Any:
        return replace(self, model=self.model.without_compilation())
