"""What transformers with joint attention share: their layers as places for controls."""

from __future__ import annotations

from typing import Any, Literal

from noisespace.core.controls import Site
from noisespace.models.attention import numbered


def sites_of(network: Any, text: Literal["first", "last"], patch: int) -> tuple[Site, ...]:
    """The sites of ``transformer_blocks`` and ``single_transformer_blocks``, in order.

    Of a joint attention the image tokens' looks at the text and at themselves; as features the
    residual branches of feed-forward parts.
    """
    found: list[Site] = []

    def add(name: str, kind: Literal["self", "cross", "feature"], place: Any = text) -> None:
        found.append(Site(name, kind, "block", 0, 0, patch, place))

    for i, block in enumerate(network.transformer_blocks):
        name = f"transformer_blocks.{i}"
        add(f"{name}.attn", "cross")
        add(f"{name}.attn", "self")
        if getattr(block, "attn2", None) is not None:  # Stable Diffusion 3.5 medium
            add(f"{name}.attn2", "self", "apart")
        add(f"{name}.ff", "feature", "apart")
    for i in range(len(getattr(network, "single_transformer_blocks", ()))):
        name = f"single_transformer_blocks.{i}"
        add(f"{name}.attn", "cross")
        add(f"{name}.attn", "self")
        add(f"{name}.proj_out", "feature")
    return numbered(found)
