"""Plug-and-Play: one feature of the decoder and its self-attention maps are the source's."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from noisespace.core.controls import Controls, Site
from noisespace.editing.context import EditContext, Window, copy_source, executed_steps


@dataclass(frozen=True)
class PlugAndPlay:
    """Plug-and-Play (arXiv 2211.12572): spatial features and self-attention of the source.

    ``features``, ``attention``: the share of the executed steps in which one residual feature of
    the decoder, and the queries and keys of its self-attention, are the source's. The source runs
    beside the targets in one joint pass. The feature is the decoder's fifth block of 12 in Stable
    Diffusion, the self-attention that from its second block of layers on; both are scaled to the
    network's depth. A transformer's blocks all count as the decoder's, and the feature is then the
    residual branch of a block's feed-forward part.
    """

    features: Window = 0.8
    attention: Window = 0.5

    def controls(self, context: EditContext) -> Controls:
        blocks = context.find("feature", "plug-and-play")
        decoder = [s for s in context.find("self", "plug-and-play") if s.place in ("up", "block")]
        fed = executed_steps(self.features, context.total, "features")
        attended = executed_steps(self.attention, context.total, "attention")
        chosen = 4 * len(blocks) // 12
        # Stable Diffusion: all but the first of the decoder's nine, whose maps are the coarsest
        first = decoder[len(decoder) // 9].index if decoder else 0

        def feature(step: int, site: Site, h: Tensor) -> Tensor:
            return copy_source(h) if step in fed and site.index == chosen else h

        def qkv(step: int, site: Site, q: Tensor, k: Tensor, v: Tensor) -> tuple:
            if site.kind != "self" or step not in attended or site.index < first:
                return q, k, v
            return copy_source(q), copy_source(k), v

        return Controls(qkv=qkv, feature=feature)
