"""From a pipeline of diffusers in memory to a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from noisespace.errors import InputError
from noisespace.models.families.pixels import PixelUNet
from noisespace.models.families.unet import LatentUNet

SAMPLED = 4096  # values a tensor that a fingerprint looks at


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
        for key, layer in module.named_modules():
            if hasattr(layer, "lora_A"):
                digest.update(f"{name}.{key} {adapters_of(layer)}".encode())
    return digest.hexdigest()


def adapters_of(layer: Any) -> dict[str, float]:
    """The adapters of PEFT that act in a layer, by their scales, which no weight tells."""
    active = [] if layer.disable_adapters else sorted({*layer.active_adapters})
    return {name: float(layer.scaling[name]) for name in active if name in layer.scaling}


def networks_of(pipe: Any) -> dict[str, Any]:
    """The networks of a pipeline, by the names that diffusers gives them."""
    return {k: getattr(pipe, k) for k in ("unet", "vae", "text_encoder") if hasattr(pipe, k)}


def from_pipeline(pipe: Any, name: str = "pipeline", defaults: Mapping | None = None) -> Any:
    """A model from a diffusers pipeline in memory (StableDiffusionPipeline, DDPMPipeline ...)."""
    config = dict(pipe.scheduler.config)
    ddpm = type(pipe.scheduler).__name__ == "DDPMScheduler"
    parts = networks_of(pipe)
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
    if "vae" not in parts:
        return PixelUNet(parts["unet"], **common)
    unet, vae = parts["unet"], parts["vae"]
    if unet.config.in_channels != vae.config.latent_channels:
        raise InputError(
            f"{name}: its U-Net takes {unet.config.in_channels} channels, the autoencoder makes "
            f"{vae.config.latent_channels}: an inpainting or depth model, which is not supported"
        )
    return LatentUNet(unet, vae, pipe.text_encoder, pipe.tokenizer, **common)
