"""The networks of the benchmarks: `scenes`, and random ones of Stable Diffusion's architecture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

import noisespace as ns
from noisespace.models.diffusion import DiffusionModel
from noisespace.models.families.stable_diffusion import StableDiffusion
from noisespace.models.pipeline import fingerprint
from noisespace.models.schedules import Schedule
from noisespace.models.speed import Speed
from noisespace.models.text import TextEncoder
from noisespace.train.diffusion import SCHEDULE as STABLE

SCHEDULE = {"num_train_timesteps": 1000, **STABLE}


@dataclass(frozen=True)
class Size:
    """A network's size. ``latent``: side of its latents; ``text``: width of its embeddings."""

    channels: tuple[int, ...]
    layers: int
    heads: int | tuple[int, ...]
    text: int
    latent: int
    crossing: tuple[bool, ...]  # which encoder blocks have attention
    depth: int | tuple[int, ...] = 1  # transformer layers a block
    linear: bool = False


SIZES = {
    # about 10 M parameters, in the shape of Stable Diffusion 1.5
    "sd-10m": Size((40, 80, 168, 168), 1, 4, 128, 16, (True, True, True, False)),
    "sd-1.5": Size((320, 640, 1280, 1280), 2, 8, 768, 64, (True, True, True, False)),
    # Stable Diffusion XL's U-Net but for its pooled embedding, which is 1 % of its work
    "sdxl": Size(
        (320, 640, 1280), 2, (5, 10, 20), 2048, 128, (False, True, True), (1, 2, 10), True
    ),
    "tiny": Size((16, 32), 1, 4, 32, 8, (True, False)),
}


def unet_of(size: Size) -> UNet2DConditionModel:
    down = ["CrossAttnDownBlock2D" if c else "DownBlock2D" for c in size.crossing]
    up = ["CrossAttnUpBlock2D" if c else "UpBlock2D" for c in reversed(size.crossing)]
    return UNet2DConditionModel(
        sample_size=size.latent,
        block_out_channels=size.channels,
        layers_per_block=size.layers,
        down_block_types=tuple(down),
        up_block_types=tuple(up),
        cross_attention_dim=size.text,
        attention_head_dim=size.heads,
        transformer_layers_per_block=size.depth,
        use_linear_projection=size.linear,
        norm_num_groups=8,
    )


def vae_of(size: Size) -> AutoencoderKL:
    """Stable Diffusion's for wide networks, a narrow one for the small: an eighth of the side."""
    wide = size.latent >= 64
    channels = (128, 256, 512, 512) if wide else (16, 32, 32, 32)
    return AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        layers_per_block=2 if wide else 1,
        latent_channels=4,
        norm_num_groups=32 if wide else 8,
        sample_size=size.latent * 2 ** (len(channels) - 1),
    )


def random_model(
    name: str, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> Any:
    """A model of random weights, with the tokenizer of `scenes`; nothing is downloaded."""
    size = SIZES[name]
    torch.manual_seed(0)
    with torch.device(device):
        unet, vae = unet_of(size), vae_of(size)
    tokenizer = tokenizer_of(ns.load("scenes", device="cpu"))
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.text,
        intermediate_size=size.text * 2,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    parts = {"unet": unet, "vae": vae, "text_encoder": CLIPTextModel(config)}
    for part in parts.values():
        part.to(dtype).eval().requires_grad_(False)
    speed = Speed(dtype=str(dtype).removeprefix("torch."))
    speed.place(parts, torch.device(device))
    print_of = fingerprint(parts, SCHEDULE)
    family = StableDiffusion(TextEncoder(parts["text_encoder"], tokenizer))
    schedule = Schedule("DDIMScheduler", SCHEDULE)
    made = DiffusionModel(unet, family, vae, schedule, name, {}, print_of)
    return speed.apply(made, torch.device(device))


def tokenizer_of(model: Any) -> Any:
    return model.family.text.tokenizer


def model_of(name: str) -> Any:
    """`scenes`, or a random network by its size."""
    return random_model(name) if name in SIZES else ns.load(name, device="cpu")


def pipeline(cls: Any, model: Any, scheduler: Any = None, **parts: Any) -> Any:
    """A diffusers pipeline of a model's own parts: the same weights."""
    pipe = cls(
        vae=model.vae,
        text_encoder=model.family.text.encoder,
        tokenizer=tokenizer_of(model),
        unet=model.network,
        scheduler=scheduler or DDIMScheduler(**SCHEDULE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        **parts,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe
