"""Tiny random models of the real architectures, built offline; each listed word is one token."""

from __future__ import annotations

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

WORDS = [
    "a",
    "an",
    "the",
    "photo",
    "of",
    "cat",
    "dog",
    "tiger",
    "horse",
    "on",
    "in",
    "with",
    "red",
    "blue",
    "running",
    "grass",
]
SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def word_tokenizer(words, length: int) -> CLIPTokenizer:
    """One token a word, merged letter by letter; the fixtures' own, so that nothing else moves."""
    letters = list(bytes_to_unicode().values())
    vocab, merges = [*letters, *(letter + "</w>" for letter in letters)], []
    for word in words:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts = [parts[0] + parts[1], *parts[2:]]
            vocab.append(parts[0])
    vocab = [*dict.fromkeys(vocab), "<|startoftext|>", "<|endoftext|>"]
    table = {token: index for index, token in enumerate(vocab)}
    return CLIPTokenizer(vocab=table, merges=list(dict.fromkeys(merges)), model_max_length=length)


def text_encoder(tokenizer, hidden: int = 32) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=hidden * 2,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=16,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def tiny_sd(seed: int = 0, **schedule) -> StableDiffusionPipeline:
    """A StableDiffusionPipeline of 0.5 M random parameters: 32 px pictures, 8x8x4 latents."""
    torch.manual_seed(seed)
    tokenizer = word_tokenizer(WORDS, 16)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        norm_num_groups=8,
        layers_per_block=1,
        sample_size=32,
    )
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(**{**SCHEDULE, **schedule}),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def tiny_pixels(seed: int = 0) -> DDPMPipeline:
    """An unconditional pixel-space pipeline."""
    torch.manual_seed(seed)
    unet = UNet2DModel(
        sample_size=16,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
    )
    return DDPMPipeline(unet, DDPMScheduler(clip_sample=False))


def double(pipe):
    """The pipeline's networks in float64: random networks amplify rounding."""
    for name in ("unet", "vae", "text_encoder"):
        if hasattr(pipe, name):
            torch.nn.Module.to(getattr(pipe, name), torch.float64)
    return pipe
