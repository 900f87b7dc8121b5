"""What transformers with joint attention share: their layers as places for controls."""

from __future__ import annotations

from typing import Any, Literal

from noisespace.core.controls import Site
from noisespace.models.attention import numbered

Order = Literal["first", "last"]


def joint_sites(name: str, text: Order, patch: int) -> tuple[Site, Site]:
    """The two parts of a joint attention: image tokens on the text, and on themselves."""
    return (
        Site(name, "cross", "block", 0, 0, patch, text),
        Site(name, "self", "block", 0, 0, patch, text),
    )


def feature_site(name: str, text: Literal["apart", "first", "last"], patch: int) -> Site:
    """The residual branch of a block's feed-forward part."""
    return Site(name, "feature", "block", 0, 0, patch, text)


def sites_of(network: Any, text: Order, patch: int) -> tuple[Site, ...]:
    """The sites of ``transformer_blocks`` and ``single_transformer_blocks``, in order."""
    found: list[Site] = []
    for i, block in enumerate(network.transformer_blocks):
        name = f"transformer_blocks.{i}"
        found += joint_sites(f"{name}.attn", text, patch)
        if getattr(block, "attn2", None) is not None:  # Stable Diffusion 3.5 medium
            found.append(Site(f"{name}.attn2", "self", "block", 0, 0, patch))
        found.append(feature_site(f"{name}.ff", "apart", patch))
    for i in range(len(getattr(network, "single_transformer_blocks", ()))):
        name = f"single_transformer_blocks.{i}"
        found += joint_sites(f"{name}.attn", text, patch)
        found.append(feature_site(f"{name}.proj_out", text, patch))
    return numbered(found)
