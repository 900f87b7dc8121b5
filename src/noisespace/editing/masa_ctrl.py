"""MasaCtrl: the target looks up the source's content."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from noisespace.denoiser import Controls, Site
from noisespace.editing.base import Brief, copied, first_step
from noisespace.errors import InputError

LAYERS = 16  # self-attention layers of Stable Diffusion 1.x, in which the paper counts


@dataclass(frozen=True)
class MasaCtrl:
    """MasaCtrl (arXiv 2304.08465): keys and values of self-attention are the source's.

    ``step``: from which executed step on (int), or which share of them (float); ``layer``: from
    which self-attention layer on, counted in Stable Diffusion's 16 and scaled to the network's
    depth. Layout and pose then follow the target prompt, content the source.
    """

    step: int | float = 4
    layer: int = 10

    def controls(self, brief: Brief) -> Controls:
        sites = brief.find("self", "masactrl")
        start = first_step(self.step, brief.total, "step")
        if isinstance(self.layer, bool) or self.layer not in range(LAYERS):
            names = ", ".join(f"{s.index} {s.name}" for s in sites)
            raise InputError(
                f"layer must be from 0 to {LAYERS - 1} (of Stable Diffusion's {LAYERS} layers, "
                f"scaled to this network's {len(sites)}: {names}), got {self.layer!r}"
            )
        first = min(math.ceil(self.layer * len(sites) / LAYERS), len(sites) - 1)

        def qkv(step: int, site: Site, q: Tensor, k: Tensor, v: Tensor) -> tuple:
            if site.kind != "self" or step < start or site.index < first:
                return q, k, v
            return q, copied(k), copied(v)

        return Controls(qkv=qkv)
