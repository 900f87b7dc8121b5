"""The second stage: a U-Net and a text encoder, trained together on encoded pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTokenizer

from noisespace.train.config import Config, DiffusionStage
from noisespace.train.curve import add_line, draw_levels
from noisespace.train.dataset import WHOLE, Dataset, Part, step_rng
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
LEVELS = tuple(range(50, 1000, 100))  # timesteps that the loss is told at
ALPHA_BAR = DDIMScheduler(**SCHEDULE).alphas_cumprod


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


def build_networks(settings: Config, data: Dataset) -> tuple[CLIPTokenizer, nn.ModuleDict]:
    """(tokenizer, module of "unet" and "text_encoder")."""
    config, coder = settings.diffusion, settings.autoencoder
    tokenizer = build_tokenizer(data.words(), config.text_length)
    size, seed = data.size // coder.factor, settings.seed
    module = nn.ModuleDict(
        {
            "unet": build_unet(config, coder.latent_channels, size, seed),
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
    compared: Mapping[str, tuple[Tensor, list[str]]]  # latents and captions to look at by level
    name: str = "diffusion"

    def loss(self, step: int, part: Part = WHOLE) -> Tensor:
        rng, generator = step_rng(self.seed, self.name, step)
        rows = [rng.randrange(len(self.items)) for _ in range(self.config.batch)]
        captions = [self.data.caption(self.items[row], rng) for row in rows]
        captions = ["" if rng.random() < self.config.dropout else text for text in captions]
        noise = torch.randn((len(rows), *self.latents.shape[1:]), generator=generator)
        t = torch.randint(len(ALPHA_BAR), (len(rows),), generator=generator)
        x0 = self.latents[part.of(rows)]
        errors = self.errors(x0, part.of(noise), part.of(t), part.of(captions))
        snr = ALPHA_BAR / (1 - ALPHA_BAR)
        weight = snr.clamp(max=self.config.snr_gamma) / snr * snr**-self.config.debias
        weight = weight[part.of(t)]
        return (weight.to(errors) * errors).mean()

    def errors(self, x0: Tensor, noise: Tensor, t: Tensor, captions: Sequence[str]) -> Tensor:
        """The squared error of the predicted noise, one for each latent (n, c, h, w)."""
        device = next(self.module.parameters()).device
        x0, noise, t = x0.to(device).float(), noise.to(device), t.to(device)
        level = ALPHA_BAR.to(device)[t][:, None, None, None]
        x = level.sqrt() * x0 + (1 - level).sqrt() * noise
        ids = tokens(self.tokenizer, captions).to(device)
        text = self.module["text_encoder"](ids).last_hidden_state
        x = x.contiguous(memory_format=torch.channels_last)
        guess = self.module["unet"](x, t, text).sample
        return (guess.float() - noise).square().mean((1, 2, 3))

    def sheet(self, path: Path, step: int) -> None:
        record = {"step": step, "t": list(LEVELS)}
        record |= {name: self.by_level(*some) for name, some in self.compared.items()}
        add_line(path.with_name("diffusion-validation.jsonl"), record)
        draw_levels(record, path.with_name("diffusion-validation.png"))
        self.draw_sheet(path)

    @torch.no_grad()
    def by_level(self, latents: Tensor, captions: Sequence[str]) -> list[float]:
        """The mean squared error of the predicted noise at each of LEVELS, on the same noise."""
        _, generator = step_rng(self.seed, "validation")
        noise = torch.randn(latents.shape, generator=generator)
        found = []
        for t in LEVELS:
            rows = torch.full((len(latents),), t)
            parts = zip(latents.split(64), noise.split(64), rows.split(64), strict=True)
            errors = [
                self.errors(x0, e, t, captions[64 * i : 64 * i + 64])
                for i, (x0, e, t) in enumerate(parts)
            ]
            found.append(round(float(torch.cat(errors).mean()), 5))
        return found
