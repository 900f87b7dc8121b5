"""Pictures as latents and back, by the autoencoder of a pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


def factor_of(vae: Any) -> int:
    """Pixels along the side of one latent pixel."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


def overflows(vae: Any) -> bool:
    """Whether an autoencoder, as it is, makes NaN of some pictures: SDXL's in float16."""
    return vae.dtype == torch.float16 and bool(vae.config.get("force_upcast"))


@contextmanager
def without_overflow(vae: Any) -> Iterator[None]:
    """An autoencoder in float32 where it would overflow, and then as it was: nothing is rounded."""
    wide = overflows(vae)
    if wide:
        vae.to(torch.float32)
    try:
        yield
    finally:
        if wide:
            vae.to(torch.float16)


def encode(vae: Any, pixels: Tensor) -> Tensor:
    """Pixels (b, 3, h, w) in [-1, 1] as latents, the mode of the posterior."""
    latents = vae.encode(pixels).latent_dist.mode()
    mean, scale = statistics(vae.config, latents)
    return (latents - mean) * scale


def decode(vae: Any, x: Tensor) -> Tensor:
    """Latents as pixels (b, 3, h, w), about [-1, 1]."""
    mean, scale = statistics(vae.config, x)
    return vae.decode(x / scale + mean).sample


def statistics(config: Any, like: Tensor) -> tuple[Any, Any]:
    """What is taken from latents, and what they are then multiplied by.

    One number for all channels, or a mean and a standard deviation a channel.
    """
    mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is None or std is None:
        return getattr(config, "shift_factor", None) or 0.0, config.scaling_factor
    mean, std = (torch.tensor(v).view(1, -1, 1, 1).to(like) for v in (mean, std))
    return mean, config.scaling_factor / std
