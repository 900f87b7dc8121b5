"""The first stage: an AutoencoderKL of factor 4."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from noisespace.train.config import AutoencoderStage
from noisespace.train.dataset import Dataset, step_rng
from noisespace.train.pictures import save_grid


def build_autoencoder(config: AutoencoderStage, size: int, seed: int) -> AutoencoderKL:
    """A small AutoencoderKL with random weights."""
    torch.manual_seed(seed)
    depth = len(config.channels)
    settings: dict[str, Any] = dict(  # noqa: C408 - diffusers' annotations are too narrow
        block_out_channels=config.channels,
        down_block_types=("DownEncoderBlock2D",) * depth,
        up_block_types=("UpDecoderBlock2D",) * depth,
        latent_channels=config.latent_channels,
        norm_num_groups=8,
        layers_per_block=1,
        mid_block_add_attention=False,
        sample_size=size,
        scaling_factor=1.0,
    )
    vae: Any = AutoencoderKL(**settings)
    return vae.to(memory_format=torch.channels_last)


@dataclass(frozen=True)
class AutoencoderTask:
    """Reconstruct pictures through a noisy latent."""

    module: Any  # an AutoencoderKL, whose outputs diffusers leaves untyped
    config: AutoencoderStage
    data: Dataset
    seed: int
    name: str = "autoencoder"

    def loss(self, step: int) -> Tensor:
        rng, generator = step_rng(self.seed, self.name, step)
        x = self.data.pictures(self.data.draw(rng, self.config.batch))
        x = x.contiguous(memory_format=torch.channels_last)
        posterior = self.module.encode(x).latent_dist
        y = self.module.decode(posterior.sample(generator)).sample
        latents = posterior.mean[0].numel()
        return (y - x).square().mean() + self.config.kl * posterior.kl().mean() / latents

    @torch.no_grad()
    def sheet(self, path: Path) -> None:
        rng, _ = step_rng(self.seed, "sheet")
        x = self.data.pictures(self.data.draw(rng, 10, unseen=True))
        y = self.module.decode(self.module.encode(x).latent_dist.mode()).sample
        save_grid(torch.cat([x, y]), path, columns=10)


@torch.no_grad()
def psnr(vae: Any, pictures: Tensor) -> Tensor:
    """Reconstruction PSNR in dB of each picture (n, 3, h, w) in [-1, 1], rounded to 8 bits."""
    values = []
    for x in pictures.split(32):
        y = vae.decode(vae.encode(x).latent_dist.mode()).sample.clamp(-1, 1)
        y = ((y + 1) * 127.5).round() / 127.5 - 1
        values.append(-10 * torch.log10((y - x).square().mean((1, 2, 3)) / 4))
    return torch.cat(values)


@torch.no_grad()
def encode_all(vae: Any, pictures: Tensor) -> Tensor:
    """The posterior modes of many pictures, unscaled."""
    return torch.cat([vae.encode(x).latent_dist.mode() for x in pictures.split(64)])
