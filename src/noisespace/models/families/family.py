"""What a family of networks must say of itself, so that one class can run them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from noisespace.core.condition import Condition
from noisespace.core.controls import Site


class Family(Protocol):
    """How the networks of a family are told what they are to do: a frozen dataclass.

    It holds what reads prompts (text encoders and tokenizers); the network is given to it.
    ``has_text``: whether prompts mean anything; ``has_null``: whether a null text does, which
    a network does not know whose guidance is an input; ``has_guidance``: whether there is any;
    ``flows``: whether its networks predict a flow;
    ``own_spacing``: whether a flow's times are spaced by the family's pipeline (1 to 1/n), not by
    its scheduler; ``defaults``: settings that its pipeline has for itself, as a model's
    ``defaults`` are written.
    """

    has_text: bool
    has_null: bool
    has_guidance: bool
    flows: bool
    own_spacing: bool

    @property
    def defaults(self) -> Mapping[str, Any]: ...

    def channels(self, network: Any) -> int:
        """Of the states."""
        ...

    def resolution(self, network: Any, factor: int) -> int:
        """The shorter side of the pictures that the network was made for, in pixels."""
        ...

    def patch(self, network: Any) -> int:
        """What the sides of states must be multiples of; a transformer's token covers as much."""
        ...

    def embed(
        self, prompts: Sequence[str | None], device: torch.device, place: torch.device | None
    ) -> Condition:
        """Prompts as the network reads them, None as it reads no prompt at all.

        ``place``: the device that encoders visit, where they rest on another one.
        """
        ...

    def call(self, network: Any, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The network's output (rows, c, h, w) at states x in its dtype, at timesteps t (rows,).

        ``network`` may be compiled code, or a part of the network: only calling it is safe.
        """
        ...

    def sites(self, network: Any) -> tuple[Site, ...]: ...
