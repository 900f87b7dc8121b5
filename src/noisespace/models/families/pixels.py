"""Unconditional U-Nets in pixel space: a UNet2DModel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from noisespace.core.condition import TEXT, Condition
from noisespace.core.controls import Site
from noisespace.errors import InputError
from noisespace.models.families.unet import find_sites, sample_side
from noisespace.models.text import Reading


@dataclass(frozen=True)
class Pixels:
    """An unconditional network whose states are the pictures themselves."""

    has_text: ClassVar[bool] = False
    has_guidance: ClassVar[bool] = False
    has_null: ClassVar[bool] = False
    flows: ClassVar[bool] = False
    own_spacing: ClassVar[bool] = False
    defaults: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def of(cls, pipe: Any, reading: Reading) -> Pixels:
        if stray := ", ".join(reading.record()):
            raise InputError(
                f"{stray}: is of prompts, and this model is unconditional: it reads none; leave it "
                "out"
            )
        return cls()

    def channels(self, network: Any) -> int:
        return network.config.in_channels

    def resolution(self, network: Any, factor: int) -> int:
        return sample_side(network)

    def patch(self, network: Any) -> int:
        return 2 ** (len(network.config.block_out_channels) - 1)

    def embed(
        self, prompts: Sequence[str | None], device: torch.device, place: torch.device | None
    ) -> Condition:
        named = [prompt for prompt in prompts if prompt]
        if named:
            raise InputError(f"this model is unconditional: it takes no prompt, got {named[0]!r}")
        empty = torch.zeros(len(prompts), 0, 0, device=device)
        return Condition({TEXT: empty}, ("",) * len(prompts))

    def call(self, network: Any, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        # A network with learned variance predicts it in the second half of its channels.
        return network(x, t).sample[:, : x.shape[1]]

    def sites(self, network: Any) -> tuple[Site, ...]:
        return find_sites(network)
