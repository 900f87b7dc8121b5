"""Stable Diffusion XL, base and turbo: a U-Net told two CLIPs, and the size of the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from noisespace.core.condition import POOLED, TEXT, Condition
from noisespace.core.controls import Site
from noisespace.models.autoencoder import factor_of
from noisespace.models.families.ip_adapter import IPAdapters
from noisespace.models.families.unet import check_unet, find_sites, sample_side
from noisespace.models.text import Reading, TextEncoder, text_encoder


@dataclass(frozen=True)
class StableDiffusionXL:
    """The text side of a StableDiffusionXLPipeline (arXiv 2307.01952).

    ``zeros``: whether no prompt is zeros in the place of an embedding, and not that of "";
    ``factor``: pixels a latent pixel: the network is told that a picture is as large as it is, and
    not cropped; ``pictures``: of IP-Adapters.
    """

    texts: tuple[TextEncoder, TextEncoder]
    zeros: bool
    factor: int
    pictures: IPAdapters = IPAdapters()  # noqa: RUF009 - frozen

    has_text: ClassVar[bool] = True
    has_guidance: ClassVar[bool] = True
    has_null: ClassVar[bool] = True
    flows: ClassVar[bool] = False
    own_spacing: ClassVar[bool] = False
    defaults: ClassVar[Mapping[str, Any]] = {"sample": {"guidance": 5.0}}

    @classmethod
    def of(cls, pipe: Any, reading: Reading) -> StableDiffusionXL:
        check_unet(pipe.unet)
        texts = text_encoder(pipe, reading, layer=2), text_encoder(pipe, reading, 2, layer=2)
        return cls(
            texts, bool(pipe.config.get("force_zeros_for_empty_prompt", True)), factor_of(pipe.vae)
        )

    def channels(self, network: Any) -> int:
        return network.config.in_channels

    def resolution(self, network: Any, factor: int) -> int:
        return sample_side(network) * factor

    def patch(self, network: Any) -> int:
        return 1

    def embed(
        self, prompts: Sequence[str | None], device: torch.device, place: torch.device | None
    ) -> Condition:
        words = tuple(prompt or "" for prompt in prompts)
        first, second = (text(prompts, device, place) for text in self.texts)
        embedding = torch.cat([first.embedding, second.embedding], -1)
        pooled = second.pooled
        if self.zeros:
            there = torch.tensor([prompt is not None for prompt in prompts], device=device)
            embedding, pooled = embedding * there[:, None, None], pooled * there[:, None]
        tensors = {TEXT: embedding, POOLED: pooled, **self.pictures.tensors(prompts)}
        return Condition(tensors, words, first.read.tokens, first.read.cut)

    def call(self, network: Any, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        size = [side * self.factor for side in x.shape[-2:]]
        # original size, crop and target size
        sizes = x.new_tensor([*size, 0, 0, *size]).expand(len(x), -1)
        added = {"text_embeds": condition.tensors[POOLED].to(x), "time_ids": sizes}
        added |= self.pictures.told(condition, x)
        text = condition.embedding.to(x)
        return network(x, t, encoder_hidden_states=text, added_cond_kwargs=added).sample

    def sites(self, network: Any) -> tuple[Site, ...]:
        return find_sites(network)
