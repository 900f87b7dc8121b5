"""Any Stable Diffusion 1.x / 2.x pipeline, or an unconditional pixel-space UNet2DModel."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from noisespace.denoiser import Site, Text, Touch
from noisespace.errors import InputError
from noisespace.models.hooks import find_sites, hooked
from noisespace.models.running import check_gradients, evaluating, owned, threads, visiting
from noisespace.prediction import Prediction
from noisespace.schedule import Grid, Level

SAMPLED = 4096  # values a tensor that a fingerprint looks at


@dataclass(frozen=True)
class Latent:
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
    towers: Path | None = None  # the folder of its alignment model
    call: Callable[..., Any] | None = None
    mixed: torch.dtype | None = None
    place: torch.device | None = None
    speed: Mapping[str, Any] = field(default_factory=dict)

    has_text = True

    @property
    def device(self) -> torch.device:
        return self.place or next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        # unet.dtype of diffusers walks through all modules: a quarter of a small network's call
        return next(self.unet.parameters()).dtype

    @property
    def state(self) -> torch.dtype:
        return state_dtype(self.dtype)

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
        with visiting(self.vae, self.place):
            latents = self.vae.encode(pixels.to(self.device, self.vae.dtype)).latent_dist.mode()
        shift = getattr(config, "shift_factor", None) or 0.0
        return ((latents - shift) * config.scaling_factor).to(self.state)

    def decode(self, x: Tensor) -> Tensor:
        config = self.vae.config
        shift = getattr(config, "shift_factor", None) or 0.0
        latents = x.to(self.vae.dtype) / config.scaling_factor + shift
        with visiting(self.vae, self.place):
            return self.vae.decode(latents).sample

    @torch.no_grad()
    def embed(self, prompts: Sequence[str]) -> Text:
        tokenizer, length = self.tokenizer, self.tokenizer.model_max_length
        ids = tokenizer(
            list(prompts),
            padding="max_length",
            max_length=length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        with visiting(self.text_encoder, self.place):
            embedding = self.text_encoder(ids.to(self.device)).last_hidden_state
        return Text(
            embedding,
            tuple(prompts),
            tuple(tuple(tokenizer.convert_ids_to_tokens(row.tolist())) for row in ids),
            tuple(cut_text(tokenizer, prompt, length) for prompt in prompts),
        )

    def denoise(
        self, x: Tensor, level: Level, text: Text, touch: Touch | None = None
    ) -> Prediction:
        check_gradients(self.unet, self.place)
        t = level.t.float().to(self.device)  # MPS holds no float64
        embedding = text.embedding.to(self.dtype)
        quiet = touch is None and not torch.is_grad_enabled()
        network = self.call if quiet and self.call is not None else self.unet
        around = evaluating(self.device, self.mixed, quiet)
        with hooked(self.unet, touch), around, threads(self.weights, x):
            output = network(x.to(self.dtype), t, encoder_hidden_states=embedding).sample
        kind = self.scheduler.get("prediction_type", "epsilon")
        return Prediction.from_output(kind, owned(output, x, quiet), x, level)

    def sites(self) -> tuple[Site, ...]:
        return find_sites(self.unet)


@dataclass(frozen=True)
class Pixels:
    """An unconditional pixel-space model: a UNet2DModel and a scheduler's config."""

    unet: Any
    scheduler: Mapping[str, Any]
    ddpm: bool = True
    name: str = "pixels"
    defaults: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    towers: Path | None = None  # the folder of its alignment model

    has_text = False
    factor = 1

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        # unet.dtype of diffusers walks through all modules: a quarter of a small network's call
        return next(self.unet.parameters()).dtype

    @property
    def state(self) -> torch.dtype:
        return state_dtype(self.dtype)

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
        return pixels.to(self.device, self.state)

    def decode(self, x: Tensor) -> Tensor:
        return x.expand(-1, 3, -1, -1)

    def embed(self, prompts: Sequence[str]) -> Text:
        named = [prompt for prompt in prompts if prompt]
        if named:
            raise InputError(
                f"the model {self.name} is unconditional: it takes no prompt, got {named[0]!r}"
            )
        empty = torch.zeros(len(prompts), 0, 0, device=self.device, dtype=self.dtype)
        return Text(empty, tuple(prompts))

    def denoise(
        self, x: Tensor, level: Level, text: Text, touch: Touch | None = None
    ) -> Prediction:
        quiet = touch is None and not torch.is_grad_enabled()
        around = evaluating(self.device, None, quiet)
        with hooked(self.unet, touch), around, threads(self.weights, x):
            output = self.unet(x.to(self.dtype), level.t.float().to(self.device)).sample
        # A network with learned variance predicts it in the second half of its channels.
        output = owned(output[:, : x.shape[1]], x, quiet)
        kind = self.scheduler.get("prediction_type", "epsilon")
        return Prediction.from_output(kind, output, x, level)

    def sites(self) -> tuple[Site, ...]:
        return find_sites(self.unet)


def weights_of(network: nn.Module) -> int:
    """How many parameters it has; going through them takes a part of a small network's call."""
    return sum(p.numel() for p in network.parameters())


def state_dtype(dtype: torch.dtype) -> torch.dtype:
    """States are float32, or the network's dtype where that is wider."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def cut_text(tokenizer: Any, prompt: str, length: int) -> str:
    """What of a prompt has no room in ``length`` tokens, "" where all has."""
    ids = tokenizer(prompt, truncation=False, verbose=False).input_ids
    return tokenizer.decode(ids[length - 1 : -1]).strip() if len(ids) > length else ""


def fingerprint(parts: Mapping[str, nn.Module], scheduler: Mapping[str, Any]) -> str:
    """A hash of configurations and weights that does not depend on the dtype they were loaded in.

    Values are rounded to bfloat16 and sampled with a stride: changing a layer changes it.
    """
    digest = hashlib.sha256()
    config = {k: v for k, v in scheduler.items() if not k.startswith("_")}
    digest.update(json.dumps(config, sort_keys=True, default=str).encode())
    for name, module in sorted(parts.items()):
        for key, tensor in sorted(module.state_dict().items()):
            flat = tensor.detach().flatten()
            some = flat[:: max(1, len(flat) // SAMPLED)].to("cpu", torch.float32)
            digest.update(f"{name}.{key}{tuple(tensor.shape)}".encode())
            digest.update(some.to(torch.bfloat16).view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def from_pipeline(pipe: Any, name: str = "pipeline", defaults: Mapping | None = None) -> Any:
    """A model from a diffusers pipeline in memory (StableDiffusionPipeline, DDPMPipeline ...)."""
    config = dict(pipe.scheduler.config)
    ddpm = type(pipe.scheduler).__name__ == "DDPMScheduler"
    latent = hasattr(pipe, "vae")
    parts = {k: getattr(pipe, k) for k in ("unet", "vae", "text_encoder") if hasattr(pipe, k)}
    for part, module in parts.items():
        module.eval().requires_grad_(False)
        broken = [k for k, v in module.state_dict().items() if not bool(v.isfinite().all())]
        if broken:
            raise InputError(f"{name}: the weights of {part} hold NaN or infinity ({broken[0]})")
    common: dict[str, Any] = {
        "scheduler": config,
        "ddpm": ddpm,
        "name": name,
        "defaults": defaults or {},
        "fingerprint": fingerprint(parts, config),
    }
    if not latent:
        return Pixels(pipe.unet, **common)
    unet, vae = pipe.unet, pipe.vae
    if unet.config.in_channels != vae.config.latent_channels:
        raise InputError(
            f"{name}: its U-Net takes {unet.config.in_channels} channels, the autoencoder makes "
            f"{vae.config.latent_channels}: an inpainting or depth model, which is not supported"
        )
    return Latent(unet, vae, pipe.text_encoder, pipe.tokenizer, **common)
