"""MasaCtrl: the target looks up the source's content."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from noisespace.core.controls import Controls, Site
from noisespace.editing.attention.running_maps import RunningMaps, word_pair
from noisespace.editing.context import EditContext, copy_source, first_step
from noisespace.errors import InputError
from noisespace.system.fields import Slider, Threshold

LAYERS = 16  # self-attention layers of Stable Diffusion 1.x, in which the paper counts


@dataclass(frozen=True)
class MasaCtrl:
    """MasaCtrl (arXiv 2304.08465): keys and values of self-attention are the source's.

    ``step``: from which executed step on (int), or which share of them (float); ``layer``: from
    which self-attention layer on, counted in Stable Diffusion's 16 and scaled to the network's
    depth. Layout and pose then follow the target prompt, content the source. ``words`` (a word, or
    one of each prompt) names the object that both prompts share: the mask-guided variant (sec.
    3.3), in which the object looks up only the source's object, and the rest only the rest;
    ``threshold`` separates the two on the word's attention, scaled to [0, 1].
    """

    step: Annotated[int | float, Slider(0, 50, 1)] = 4
    layer: Annotated[int, Slider(0, LAYERS - 1, 1)] = 10
    words: tuple[str, str] | str | None = None
    threshold: Threshold = 0.1

    def controls(self, context: EditContext) -> Controls:
        sites = context.find("self", "masactrl")
        start = first_step(self.step, context.total, "step")
        if self.layer not in range(LAYERS):
            names = ", ".join(f"{s.index} {s.name}" for s in sites)
            raise InputError(
                f"layer must be from 0 to {LAYERS - 1} (of Stable Diffusion's {LAYERS} layers, "
                f"scaled to this network's {len(sites)}: {names}), got {self.layer!r}"
            )
        first = min(math.ceil(self.layer * len(sites) / LAYERS), len(sites) - 1)

        def qkv(step: int, site: Site, q: Tensor, k: Tensor, v: Tensor) -> tuple:
            if site.kind != "self" or step < start or site.index < first:
                return q, k, v
            return q, copy_source(k), copy_source(v)

        if self.words is None:
            return Controls(qkv=qkv)
        running = RunningMaps.of(
            context, word_pair(self.words, "words"), "the mask-guided masactrl"
        )

        def guided(step: int, site: Site) -> bool:
            return site.kind == "self" and step >= start and site.index >= first

        def reads(step: int, site: Site) -> bool:
            return running.reads(site) or guided(step, site)

        def probs(step: int, site: Site, p: Tensor) -> Tensor:
            if running.reads(site):
                running.collect(p[0])
            if not guided(step, site) or running.sums is None:
                return p
            masks = object_masks(running.maps(), site.size(*context.latent), self.threshold)
            return torch.cat([p[:, :, :1], looking_alike(p[:, :, 1:], masks)], 2)

        return Controls(qkv=qkv, probs=probs, reads=reads)


def object_masks(maps: Tensor, size: tuple[int, int], threshold: float) -> Tensor:
    """(image, row, token) of a site's map: where the word's attention, in [0, 1], is high."""
    maps = interpolate(maps, size, mode="bilinear")
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return ((maps - low) > threshold * (high - low)).flatten(-2)


def looking_alike(p: Tensor, masks: Tensor) -> Tensor:
    """Attention of the targets (guide, image, target, head, query, key) to the source's keys.

    Kept where query and key are both of the object, or both not, and normalised again: a softmax
    over those keys alone. A query for which no such key exists keeps its attention.
    """
    alike = masks[:, 1:, :, None] == masks[:, :1, None, :]
    kept = p * alike[:, :, None].to(p)
    total = kept.sum(-1, keepdim=True)
    return torch.where(total > 0, kept / total.clamp(min=torch.finfo(p.dtype).tiny), p)
