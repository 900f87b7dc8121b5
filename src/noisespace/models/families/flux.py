"""Flux: a transformer that is told its guidance, over latents packed two by two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from noisespace.core.condition import GUIDANCE, POOLED, TEXT, Condition
from noisespace.core.controls import Site
from noisespace.errors import InputError
from noisespace.models.families.joint_attention import sites_of
from noisespace.models.families.sd3 import length_of
from noisespace.models.text import Reading, TextEncoder, text_encoder

LENGTH = 512  # tokens of T5 that its pipeline reads
SIDE = 128  # latents of a picture, which its configuration does not say
PATCH = 2


@dataclass(frozen=True)
class Flux:
    """The text side of a FluxPipeline (dev: guidance is an input, schnell: there is none)."""

    clip: TextEncoder
    t5: TextEncoder
    told: bool

    has_text: ClassVar[bool] = True
    has_null: ClassVar[bool] = False
    flows: ClassVar[bool] = True
    own_spacing: ClassVar[bool] = True

    @classmethod
    def of(cls, pipe: Any, reading: Reading) -> Flux:
        if reading.clip_skip:
            raise InputError(
                "Flux reads the whole prompt of CLIP and no layer of it, so that clip_skip means "
                f"nothing: leave it out, got {reading.clip_skip}"
            )
        return cls(
            text_encoder(pipe, reading, layer=0),
            text_encoder(pipe, reading, 2, length_of(pipe.tokenizer_2, LENGTH)),
            bool(pipe.transformer.config.guidance_embeds),
        )

    @property
    def has_guidance(self) -> bool:
        return self.told

    @property
    def defaults(self) -> Mapping[str, Any]:
        w, steps = (3.5, 28) if self.told else (1.0, 4)
        return {"sample": {"steps": steps, "guidance": w}, "every": {"invert": 1.0, "edit": w}}

    def channels(self, network: Any) -> int:
        return network.config.in_channels // PATCH**2

    def resolution(self, network: Any, factor: int) -> int:
        return SIDE * factor

    def patch(self, network: Any) -> int:
        return PATCH

    def embed(
        self, prompts: Sequence[str | None], device: torch.device, place: torch.device | None
    ) -> Condition:
        words = tuple(prompt or "" for prompt in prompts)
        pooled = self.clip(prompts, device, place).pooled
        text = self.t5(prompts, device, place)
        tensors = {
            TEXT: text.embedding,
            POOLED: pooled,
            GUIDANCE: torch.ones(len(words), device=device),
        }
        return Condition(tensors, words, text.read.tokens, text.read.cut)

    def call(self, network: Any, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        text, (height, width) = condition.embedding.to(x), x.shape[-2:]
        places = torch.zeros(height // PATCH, width // PATCH, 3, device=x.device, dtype=x.dtype)
        places[..., 1] = torch.arange(height // PATCH, device=x.device)[:, None]
        places[..., 2] = torch.arange(width // PATCH, device=x.device)[None]
        told = {"guidance": condition.tensors[GUIDANCE].float()} if self.told else {}
        out = network(
            hidden_states=pack(x),
            timestep=t.to(x.dtype) / 1000,
            pooled_projections=condition.tensors[POOLED].to(x),
            encoder_hidden_states=text,
            txt_ids=places.new_zeros(text.shape[1], 3),
            img_ids=places.flatten(0, 1),
            **told,
        ).sample
        return unpack(out, height, width)

    def sites(self, network: Any) -> tuple[Site, ...]:
        return sites_of(network, "first", PATCH)


def pack(x: Tensor) -> Tensor:
    """Latents (b, c, h, w) as tokens (b, h w / 4, 4 c) of two by two."""
    b, c, h, w = x.shape
    x = x.reshape(b, c, h // PATCH, PATCH, w // PATCH, PATCH).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(b, (h // PATCH) * (w // PATCH), c * PATCH**2)


def unpack(x: Tensor, height: int, width: int) -> Tensor:
    """Tokens as latents (b, c, height, width) again."""
    b, _, c = x.shape
    x = x.reshape(b, height // PATCH, width // PATCH, c // PATCH**2, PATCH, PATCH)
    return x.permute(0, 3, 1, 4, 2, 5).reshape(b, c // PATCH**2, height, width)
