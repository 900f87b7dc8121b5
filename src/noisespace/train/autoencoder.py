"""The first stage: an AutoencoderKL."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional

from noisespace.train.config import AutoencoderStage
from noisespace.train.dataset import WHOLE, Dataset, Part, step_rng
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
    """Reconstruct pictures through a noisy latent.

    Some steps shrink latents and pictures alike (cf. EQ-VAE, arXiv 2502.09509): latents that stand
    for a picture at any scale are smooth, and easier for the second stage.
    """

    module: Any  # an AutoencoderKL, whose outputs diffusers leaves untyped
    config: AutoencoderStage
    data: Dataset
    seed: int
    name: str = "autoencoder"

    def loss(self, step: int, part: Part = WHOLE) -> Tensor:
        rng, generator = step_rng(self.seed, self.name, step)
        items = self.data.draw(rng, self.config.batch)
        windows = [self.window(rng) for _ in items]
        coarse = rng.random() < self.config.coarse
        x = self.data.pictures(part.of(items))
        x = torch.stack([one[:, w[0], w[1]] for one, w in zip(x, part.of(windows), strict=True)])
        x = x.to(self.module.device).contiguous(memory_format=torch.channels_last)
        posterior = self.module.encode(x).latent_dist
        shape = posterior.mean.shape[1:]
        noise = part.of(torch.randn((self.config.batch, *shape), generator=generator))
        z = posterior.mean + posterior.std * noise.to(x)
        if coarse:
            z, x = (functional.interpolate(v, scale_factor=0.5, mode="area") for v in (z, x))
        y = self.module.decode(z).sample
        return (y.float() - x).square().mean() + self.config.kl * posterior.kl().mean() / (
            shape.numel()
        )

    def window(self, rng: random.Random) -> tuple[slice, slice]:
        """What a step sees of one picture."""
        side = self.config.crop or self.data.size
        places = (rng.randrange(self.data.size - side + 1) for _ in range(2))
        top, left = places
        return slice(top, top + side), slice(left, left + side)

    @torch.no_grad()
    def sheet(self, path: Path, step: int) -> None:
        rng, _ = step_rng(self.seed, "sheet")
        x = self.data.pictures(self.data.draw(rng, 10, unseen=True)).to(self.module.device)
        y = self.module.decode(self.module.encode(x).latent_dist.mode()).sample
        save_grid(torch.cat([x, y]), path, columns=10)


@torch.no_grad()
def psnr(vae: Any, pictures: Tensor) -> Tensor:
    """Reconstruction PSNR in dB of each picture (n, 3, h, w) in [-1, 1], rounded to 8 bits."""
    values = []
    for x in pictures.to(vae.device).split(32):
        y = vae.decode(vae.encode(x).latent_dist.mode()).sample.clamp(-1, 1)
        y = ((y + 1) * 127.5).round() / 127.5 - 1
        values.append(-10 * torch.log10((y - x).square().mean((1, 2, 3)) / 4))
    return torch.cat(values).cpu()


@torch.no_grad()
def encode_all(vae: Any, pictures: Tensor) -> Tensor:
    """The posterior modes of many pictures, unscaled."""
    pictures = pictures.to(vae.device)
    return torch.cat([vae.encode(x).latent_dist.mode().cpu() for x in pictures.split(64)])
