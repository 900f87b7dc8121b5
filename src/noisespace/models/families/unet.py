"""Latent text-to-image U-Nets: Stable Diffusion 1.x and 2.x."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noisespace.core.backbone import Denoiser
from noisespace.core.condition import TEXT, Condition
from noisespace.core.controls import HookContext, Site
from noisespace.core.grid import Grid, Level
from noisespace.core.prediction import Prediction
from noisespace.models.exclusive import exclusive
from noisespace.models.families.unet_attention import controls_in, find_sites
from noisespace.models.running import (
    check_gradients,
    dtype_of_states,
    evaluation_mode,
    fitting_threads,
    on_device,
    own_tensor,
    weights_of,
)
from noisespace.models.tokenizing import tokenize


@dataclass(frozen=True)
class LatentUNet:
    """A latent text-to-image model: the parts of a StableDiffusionPipeline. No state of its own.

    ``call``: what is called in the place of the U-Net where nobody looks inside it or
    differentiates (compiled code); ``mixed``: the dtype of autocast; ``place``: the device that its
    parts visit, where they rest on another one; ``speed``: what a record says of these.
    """

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Mapping[str, Any]  # the scheduler's config; nothing else of it is used
    ddpm: bool = False  # whether that scheduler was a DDPMScheduler
    name: str = "pipeline"
    defaults: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    alignment_folder: Path | None = None
    call: Callable[..., Any] | None = None
    mixed: torch.dtype | None = None
    place: torch.device | None = None
    speed: Mapping[str, Any] = field(default_factory=dict)

    has_text = True

    @property
    def network(self) -> Any:
        return self.unet

    @property
    def device(self) -> torch.device:
        return self.place or next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        # unet.dtype of diffusers walks through all modules: a quarter of a small network's call
        return next(self.unet.parameters()).dtype

    @property
    def compute_dtype(self) -> torch.dtype:
        return self.mixed or self.dtype

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
    def factor(self) -> int:
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def multiple(self) -> int:
        # U-Nets interpolate to the skip's size on the way up: any latent size will do
        return max(8, self.factor)

    @property
    def resolution(self) -> int:
        size = self.unet.config.sample_size
        return (size if isinstance(size, int) else min(size)) * self.factor

    def grid(self, steps: int) -> Grid:
        return Grid.from_config(self.scheduler, steps, ddpm=self.ddpm)

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        config = self.vae.config
        with on_device(self.vae, self.place):
            latents = self.vae.encode(pixels.to(self.device, self.vae.dtype)).latent_dist.mode()
        shift = getattr(config, "shift_factor", None) or 0.0
        return ((latents - shift) * config.scaling_factor).to(self.state_dtype)

    def decode(self, x: Tensor) -> Tensor:
        config = self.vae.config
        shift = getattr(config, "shift_factor", None) or 0.0
        latents = x.to(self.vae.dtype) / config.scaling_factor + shift
        with on_device(self.vae, self.place):
            return self.vae.decode(latents).sample

    @torch.no_grad()
    def embed(self, prompts: Sequence[str]) -> Condition:
        read = tokenize(self.tokenizer, prompts)
        with on_device(self.text_encoder, self.place):
            embedding = self.text_encoder(read.ids.to(self.device)).last_hidden_state
        return Condition({TEXT: embedding}, tuple(prompts), read.tokens, read.cut)

    def denoise(
        self, x: Tensor, level: Level, condition: Condition, hooks: HookContext | None = None
    ) -> Prediction:
        check_gradients(self.unet, self.place)
        t = level.t.float().to(self.device)  # MPS holds no float64
        embedding = condition.embedding.to(self.dtype)
        quiet = hooks is None and not torch.is_grad_enabled()
        network = self.call if quiet and self.call is not None else self.unet
        around = evaluation_mode(self.device, self.mixed, quiet)
        with (
            exclusive(self.unet),
            controls_in(self.unet, hooks),
            around,
            fitting_threads(self.weights, x),
        ):
            output = network(x.to(self.dtype), t, encoder_hidden_states=embedding).sample
        kind = self.scheduler.get("prediction_type", "epsilon")
        return Prediction.from_output(kind, own_tensor(output, x, quiet), x, level)

    def without_compilation(self) -> LatentUNet:
        return self if self.call is None else replace(self, call=None)

    def begin(self) -> Denoiser:
        return self.denoise

    def guide(self, guided: Denoiser) -> Denoiser:
        return guided

    def sites(self) -> tuple[Site, ...]:
        return find_sites(self.unet)
