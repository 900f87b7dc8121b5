"""Unconditional U-Nets in pixel space: a UNet2DModel and its scheduler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from noisespace.core.backbone import Denoiser
from noisespace.core.condition import TEXT, Condition
from noisespace.core.controls import HookContext, Site
from noisespace.core.grid import Grid, Level
from noisespace.core.prediction import Prediction
from noisespace.errors import InputError
from noisespace.models.exclusive import exclusive
from noisespace.models.families.unet_attention import controls_in, find_sites
from noisespace.models.running import (
    dtype_of_states,
    evaluation_mode,
    fitting_threads,
    own_tensor,
    weights_of,
)


@dataclass(frozen=True)
class PixelUNet:
    """An unconditional pixel-space model: a UNet2DModel and a scheduler's config."""

    unet: Any
    scheduler: Mapping[str, Any]
    ddpm: bool = True
    name: str = "pixels"
    defaults: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    alignment_folder: Path | None = None

    has_text = False
    speed: ClassVar[Mapping[str, Any]] = {}
    factor = 1

    @property
    def network(self) -> Any:
        return self.unet

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        # unet.dtype of diffusers walks through all modules: a quarter of a small network's call
        return next(self.unet.parameters()).dtype

    @property
    def compute_dtype(self) -> torch.dtype:
        return self.dtype

    @property
    def state_dtype(self) -> torch.dtype:
        return dtype_of_states(self.dtype)

    @cached_property
    def weights(self) -> int:
        return weights_of(self.unet)

    @property
    def channels(self) -> int:
        return self.unet.config.in_channels

    @property
    def multiple(self) -> int:
        return 2 ** (len(self.unet.config.block_out_channels) - 1)

    @property
    def resolution(self) -> int:
        size = self.unet.config.sample_size
        return size if isinstance(size, int) else min(size)

    def grid(self, steps: int) -> Grid:
        return Grid.from_config(self.scheduler, steps, ddpm=self.ddpm)

    def encode(self, pixels: Tensor) -> Tensor:
        if self.channels == 1:
            pixels = pixels.mean(1, keepdim=True)
        return pixels.to(self.device, self.state_dtype)

    def decode(self, x: Tensor) -> Tensor:
        return x.expand(-1, 3, -1, -1)

    def embed(self, prompts: Sequence[str]) -> Condition:
        named = [prompt for prompt in prompts if prompt]
        if named:
            raise InputError(
                f"the model {self.name} is unconditional: it takes no prompt, got {named[0]!r}"
            )
        empty = torch.zeros(len(prompts), 0, 0, device=self.device, dtype=self.dtype)
        return Condition({TEXT: empty}, tuple(prompts))

    def denoise(
        self, x: Tensor, level: Level, condition: Condition, hooks: HookContext | None = None
    ) -> Prediction:
        quiet = hooks is None and not torch.is_grad_enabled()
        around = evaluation_mode(self.device, None, quiet)
        with (
            exclusive(self.unet),
            controls_in(self.unet, hooks),
            around,
            fitting_threads(self.weights, x),
        ):
            output = self.unet(x.to(self.dtype), level.t.float().to(self.device)).sample
        # A network with learned variance predicts it in the second half of its channels.
        output = own_tensor(output[:, : x.shape[1]], x, quiet)
        kind = self.scheduler.get("prediction_type", "epsilon")
        return Prediction.from_output(kind, output, x, level)

    def without_compilation(self) -> PixelUNet:
        return self

    def begin(self) -> Denoiser:
        return self.denoise

    def guide(self, guided: Denoiser) -> Denoiser:
        return guided

    def sites(self) -> tuple[Site, ...]:
        return find_sites(self.unet)
