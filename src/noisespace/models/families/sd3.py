"""Stable Diffusion 3 and 3.5: a transformer whose image and text tokens attend jointly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from noisespace.core.condition import PADDING, POOLED, TEXT, Condition
from noisespace.core.controls import Site
from noisespace.errors import InputError
from noisespace.models.families.joint_attention import sites_of
from noisespace.models.text import Reading, TextEncoder, text_encoder

LENGTH = 256  # tokens of T5 that its pipeline reads


@dataclass(frozen=True)
class StableDiffusion3:
    """The text side of a StableDiffusion3Pipeline (arXiv 2403.03206).

    ``clips``: CLIP-L and CLIP-G; ``t5``: None where it was left out, which its pipeline fills with
    zeros; ``width``: of the text tokens.
    """

    clips: tuple[TextEncoder, TextEncoder]
    t5: TextEncoder | None
    width: int

    has_text: ClassVar[bool] = True
    has_guidance: ClassVar[bool] = True
    has_null: ClassVar[bool] = True
    flows: ClassVar[bool] = True
    own_spacing: ClassVar[bool] = False
    defaults: ClassVar[Mapping[str, Any]] = {"sample": {"steps": 28, "guidance": 7.0}}

    @classmethod
    def of(cls, pipe: Any, reading: Reading) -> StableDiffusion3:
        first = text_encoder(pipe, reading, layer=2)
        length = first.tokenizer.model_max_length
        clips = first, text_encoder(pipe, reading, 2, length, layer=2)
        t5 = None
        if pipe.text_encoder_3 is not None:
            whole = Reading(reading.weights)  # T5 skips no layer
            t5 = text_encoder(pipe, whole, 3, length_of(pipe.tokenizer_3, LENGTH))
        return cls(clips, t5, pipe.transformer.config.joint_attention_dim)

    def channels(self, network: Any) -> int:
        return network.config.in_channels

    def resolution(self, network: Any, factor: int) -> int:
        return network.config.sample_size * factor

    def patch(self, network: Any) -> int:
        return network.config.patch_size

    def embed(
        self, prompts: Sequence[str | None], device: torch.device, place: torch.device | None
    ) -> Condition:
        words = tuple(prompt or "" for prompt in prompts)
        first, second = (text(prompts, device, place) for text in self.clips)
        clip = torch.cat([first.embedding, second.embedding], -1)
        clip = pad(clip, (0, self.width - clip.shape[-1]))
        pooled = torch.cat([first.pooled, second.pooled], -1)
        if self.t5 is None:
            blank = clip.new_zeros(len(words), LENGTH, self.width)
            tokens = tuple((*row, *[PADDING] * LENGTH) for row in first.read.tokens)
            tensors = {TEXT: torch.cat([clip, blank], 1), POOLED: pooled}
            return Condition(tensors, words, tokens, first.read.cut)
        third = self.t5(prompts, device, place)
        tokens = tuple(a + b for a, b in zip(first.read.tokens, third.read.tokens, strict=True))
        tensors = {TEXT: torch.cat([clip, third.embedding.to(clip)], 1), POOLED: pooled}
        # T5 reads on where CLIP has no room
        return Condition(tensors, words, tokens, third.read.cut)

    def call(self, network: Any, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        most = network.config.pos_embed_max_size * network.config.patch_size
        if max(x.shape[-2:]) > most:
            raise InputError(
                f"this model places no more than {most} latent pixels along a side, got "
                f"{max(x.shape[-2:])}: use a smaller size"
            )
        return network(
            x,
            timestep=t,
            encoder_hidden_states=condition.embedding.to(x),
            pooled_projections=condition.tensors[POOLED].to(x),
        ).sample

    def sites(self, network: Any) -> tuple[Site, ...]:
        return sites_of(network, "last", network.config.patch_size)


def length_of(tokenizer: Any, most: int) -> int:
    """How many tokens of T5 are read: what the pipeline reads, or fewer where it was made for."""
    return min(most, tokenizer.model_max_length)
