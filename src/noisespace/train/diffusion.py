"""The second stage: a U-Net and a text encoder, trained together on encoded pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTokenizer

from noisespace.train.config import DiffusionStage
from noisespace.train.dataset import Dataset, step_rng
from noisespace.train.text import build_text_encoder, build_tokenizer, tokens

# Stable Diffusion's schedule, so that everything written for it holds for this model too
SCHEDULE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def build_unet(config: DiffusionStage, channels: int, size: int, seed: int) -> UNet2DConditionModel:
    """A small UNet2DConditionModel with random weights for latents (channels, size, size)."""
    torch.manual_seed(seed)
    down = tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in config.attention)
    up = tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(config.attention))
    settings: dict[str, Any] = dict(  # noqa: C408 - diffusers' annotations are too narrow
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=config.channels,
        down_block_types=down,
        up_block_types=up,
        layers_per_block=config.layers,
        cross_attention_dim=config.text_hidden,
        attention_head_dim=config.heads,  # diffusers' name for what is the number of heads here
        norm_num_groups=16,
    )
    unet: Any = UNet2DConditionModel(**settings)
    return unet.to(memory_format=torch.channels_last)


def build_networks(config: DiffusionStage, data: Dataset, channels: int, seed: int) -> tuple:
    """(tokenizer, module of "unet" and "text_encoder")."""
    tokenizer = build_tokenizer(data.words(), config.text_length)
    module = nn.ModuleDict(
        {
            "unet": build_unet(config, channels, data.size // 4, seed),
            "text_encoder": build_text_encoder(config, tokenizer, seed),
        }
    )
    return tokenizer, module


@dataclass(frozen=True)
class DiffusionTask:
    """Predict the noise in scaled latents (n, c, h, w) of ``items``, told a caption."""

    module: nn.ModuleDict
    config: DiffusionStage
    data: Dataset
    tokenizer: CLIPTokenizer
    latents: Tensor
    items: list
    seed: int
    draw_sheet: Callable[[Path], None]
    name: str = "diffusion"

    def loss(self, step: int) -> Tensor:
        rng, generator = step_rng(self.seed, self.name, step)
        rows = [rng.randrange(len(self.items)) for _ in range(self.config.batch)]
        captions = [self.data.caption(self.items[row], rng) for row in rows]
        captions = ["" if rng.random() < self.config.dropout else text for text in captions]
        x0 = self.latents[rows].float()
        noise = torch.randn(x0.shape, generator=generator)
        alpha_bar = DDIMScheduler(**SCHEDULE).alphas_cumprod
        t = torch.randint(len(alpha_bar), (len(rows),), generator=generator)
        level = alpha_bar[t][:, None, None, None]
        x = (level.sqrt() * x0 + (1 - level).sqrt() * noise).contiguous(
            memory_format=torch.channels_last
        )
        text = self.module["text_encoder"](tokens(self.tokenizer, captions)).last_hidden_state
        guess = self.module["unet"](x, t, text).sample
        snr = alpha_bar[t] / (1 - alpha_bar[t])
        weight = snr.clamp(max=self.config.snr_gamma) / snr
        return (weight * (guess - noise).square().mean((1, 2, 3))).mean()

    def sheet(self, path: Path) -> None:
        self.draw_sheet(path)
