"""Networks of diffusers behind the protocol of models: one class for every family."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noisespace.core.backbone import Denoiser, Mixing, affine
from noisespace.core.condition import PAINT, Condition
from noisespace.core.controls import HookContext, Site
from noisespace.core.grid import Grid, Level, Steps
from noisespace.core.prediction import Prediction
from noisespace.errors import InputError
from noisespace.models import autoencoder
from noisespace.models.attention import controls_in
from noisespace.models.families.family import Family
from noisespace.models.memory import Memory
from noisespace.models.quantised import QUANTISED, is_quantised
from noisespace.models.running import (
    check_gradients,
    dtype_of_states,
    evaluation_mode,
    fitting_threads,
    in_use,
    own_tensor,
    weights_of,
)
from noisespace.models.schedules import Schedule


@dataclass(frozen=True)
class DiffusionModel:
    """The parts of a diffusers pipeline. No state of its own.

    ``vae`` is None for a network in pixel space; ``call``: what is called in the place of the
    network where nobody looks inside it or differentiates (compiled code); ``mixed``: the dtype of
    autocast; ``place``: the device that its parts visit, where they rest on another one; ``speed``:
    what a record says of these, ``additions`` of LoRAs, embeddings or another autoencoder, and of
    how prompts are read; ``memory``: what it takes, where it was loaded here.
    """

    network: Any
    family: Family
    vae: Any
    schedule: Schedule
    name: str = "pipeline"
    defaults: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    alignment_folder: Path | None = None
    call: Callable[..., Any] | None = None
    mixed: torch.dtype | None = None
    place: torch.device | None = None
    speed: Mapping[str, Any] = field(default_factory=dict)
    additions: Mapping[str, Any] = field(default_factory=dict)
    memory: Memory | None = None

    @property
    def has_text(self) -> bool:
        return self.family.has_text

    @property
    def has_null(self) -> bool:
        return self.family.has_null

    @property
    def has_guidance(self) -> bool:
        return self.family.has_guidance

    @property
    def renoises(self) -> bool:
        return self.schedule.renoises

    @property
    def device(self) -> torch.device:
        return self.place or next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        # .dtype of diffusers walks through all modules: a quarter of a small network's call. Bytes
        # are what weights in bits are kept in, not what is computed in.
        return next(p.dtype for p in self.network.parameters() if p.itemsize > 1)

    @cached_property
    def quantised(self) -> bool:
        """Whether its network has weights in 8 or 4 bits, through which no gradient goes here."""
        return self.vae is not None and is_quantised(self.network)

    @property
    def compute_dtype(self) -> torch.dtype:
        # kernels of quantised weights round as coarsely as that, whatever goes in and out
        return self.mixed or (torch.bfloat16 if self.quantised else self.dtype)

    @property
    def state_dtype(self) -> torch.dtype:
        return dtype_of_states(self.dtype)

    @cached_property
    def weights(self) -> int:
        return weights_of(self.network)

    @property
    def channels(self) -> int:
        own = self.family.channels(self.network)
        return own if self.vae is None else self.vae.config.latent_channels

    @cached_property
    def paints(self) -> bool:
        return self.family.channels(self.network) == 1 + 2 * self.channels

    @property
    def factor(self) -> int:
        return 1 if self.vae is None else autoencoder.factor_of(self.vae)

    @property
    def multiple(self) -> int:
        least = 1 if self.vae is None else 8
        return max(least, self.factor * self.family.patch(self.network))

    @property
    def resolution(self) -> int:
        return self.family.resolution(self.network, self.factor)

    def grid(self, steps: Steps, size: tuple[int, int] | None = None) -> Grid:
        side, patch = self.resolution // self.factor, self.family.patch(self.network)
        height, width = size or (side, side)
        tokens = (height // patch) * (width // patch)
        return self.schedule.grid(steps, tokens, own_spacing=self.family.own_spacing)

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        if self.vae is None:
            pixels = pixels.mean(1, keepdim=True) if self.channels == 1 else pixels
            return pixels.to(self.device, self.state_dtype)
        with in_use(self.vae, self.place), autoencoder.without_overflow(self.vae):
            latents = autoencoder.encode(self.vae, pixels.to(self.device, self.vae.dtype))
        return latents.to(self.state_dtype)

    def decode(self, x: Tensor) -> Tensor:
        if self.vae is None:
            return x.expand(-1, 3, -1, -1)
        with in_use(self.vae, self.place), autoencoder.without_overflow(self.vae):
            return autoencoder.decode(self.vae, x.to(self.vae.dtype))

    def unpainted(self, size: tuple[int, int]) -> Tensor:
        return self._unpainted(size)

    @cached_property
    def _unpainted(self) -> Callable[[tuple[int, int]], Tensor]:
        def made(size: tuple[int, int]) -> Tensor:
            """A mask that is 1 everywhere, and the latents of a picture that is all masked."""
            height, width = size
            grey = self.encode(torch.zeros(1, 3, height * self.factor, width * self.factor))
            return torch.cat([torch.ones_like(grey[:, :1]), grey], 1)

        return cache(made)  # of every size once: it is asked for at each evaluation

    @torch.no_grad()
    def embed(self, prompts: Sequence[str | None]) -> Condition:
        return self.family.embed(prompts, self.device, self.place)

    def denoise(
        self, x: Tensor, level: Level, condition: Condition, hooks: HookContext | None = None
    ) -> Prediction:
        check_gradients(self.network, self.place)
        if self.quantised and torch.is_grad_enabled():
            raise InputError(QUANTISED)
        t = level.t.float().to(self.device).expand(len(x))  # MPS holds no float64
        told = x.to(self.dtype)
        if self.paints:
            known = condition.tensors.get(PAINT)
            paint = self.unpainted((x.shape[-2], x.shape[-1])) if known is None else known
            told = torch.cat([told, paint.to(told).expand(len(x), -1, -1, -1)], 1)
        quiet = hooks is None and not torch.is_grad_enabled()
        network = self.call if quiet and self.call is not None else self.network
        with (
            in_use(self.network, None),
            controls_in(
                self.network, self.sites() if hooks else (), hooks, (x.shape[-2], x.shape[-1])
            ),
            evaluation_mode(self.device, self.mixed, quiet),
            fitting_threads(self.weights, x),
        ):
            output = self.family.call(network, told, t, condition)
        output = own_tensor(output[:, : x.shape[1]], x, quiet)  # beyond: a learned variance
        return Prediction.from_output(self.schedule.kind, output, x, level)

    def without_compilation(self) -> DiffusionModel:
        return self if self.call is None else replace(self, call=None)

    def begin(self) -> Denoiser:
        return self.denoise

    @property
    def mixing(self) -> Mixing:
        return affine

    def guide(self, guided: Denoiser) -> Denoiser:
        return guided

    def sites(self) -> tuple[Site, ...]:
        return self.family.sites(self.network)
