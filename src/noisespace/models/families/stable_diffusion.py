"""Stable Diffusion 1.x and 2.x: a U-Net that attends to the tokens of one CLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from noisespace.core.condition import GUIDANCE, TEXT, Condition
from noisespace.core.controls import Site
from noisespace.models.families.ip_adapter import IPAdapters
from noisespace.models.families.unet import check_unet, find_sites, sample_side
from noisespace.models.text import Reading, TextEncoder, text_encoder


@dataclass(frozen=True)
class StableDiffusion:
    """The text side of a StableDiffusionPipeline, or of a latent consistency model.

    ``guidance_width``: of the embedding in which a distilled network is told its guidance;
    ``pictures``: of IP-Adapters.
    """

    text: TextEncoder
    guidance_width: int | None = None
    pictures: IPAdapters = IPAdapters()  # noqa: RUF009 - frozen

    has_text: ClassVar[bool] = True
    has_guidance: ClassVar[bool] = True
    flows: ClassVar[bool] = False
    own_spacing: ClassVar[bool] = False

    @classmethod
    def of(cls, pipe: Any, reading: Reading) -> StableDiffusion:
        check_unet(pipe.unet)
        width = pipe.unet.config.time_cond_proj_dim
        return cls(text_encoder(pipe, reading), width)

    @property
    def has_null(self) -> bool:
        return self.guidance_width is None

    @property
    def defaults(self) -> Mapping[str, Any]:
        if self.has_null:
            return {}
        return {
            "sample": {"steps": 4, "guidance": 8.5},
            "every": {"invert": 1.0, "edit": 8.5},
        }

    def channels(self, network: Any) -> int:
        return network.config.in_channels

    def resolution(self, network: Any, factor: int) -> int:
        return sample_side(network) * factor

    def patch(self, network: Any) -> int:
        return 1  # U-Nets interpolate to the skip's size on the way up: any size will do

    def embed(
        self, prompts: Sequence[str | None], device: torch.device, place: torch.device | None
    ) -> Condition:
        words = tuple(prompt or "" for prompt in prompts)
        embedding, _, read = self.text(prompts, device, place)
        tensors = {TEXT: embedding, **self.pictures.tensors(prompts)}
        if not self.has_null:
            tensors[GUIDANCE] = torch.ones(len(words), device=device)
        return Condition(tensors, words, read.tokens, read.cut)

    def call(self, network: Any, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        told: dict[str, Any] = {"encoder_hidden_states": condition.embedding.to(x.dtype)}
        if added := self.pictures.told(condition, x):
            told["added_cond_kwargs"] = added
        if self.guidance_width is not None:
            told["timestep_cond"] = guidance_embedding(
                condition.tensors[GUIDANCE] - 1, self.guidance_width
            ).to(x)
        # a network with learned variance predicts it in the second half of its channels
        return network(x, t, **told).sample[:, : x.shape[1]]

    def sites(self, network: Any) -> tuple[Site, ...]:
        return find_sites(network)


def guidance_embedding(w: Tensor, width: int) -> Tensor:
    """Weights (rows,) as a distilled network reads them, (rows, width): sines of 1000 w."""
    half = width // 2
    steps = torch.arange(half, device=w.device) * (torch.tensor(10000.0).log().item() / (half - 1))
    angles = 1000 * w.float()[:, None] * torch.exp(-steps)[None]
    out = torch.cat([angles.sin(), angles.cos()], 1)
    return torch.nn.functional.pad(out, (0, width % 2))
