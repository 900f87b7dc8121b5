"""Where a prompt's words look: cross-attention maps over the image, and masks made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from noisespace.core.controls import Controls, Site
from noisespace.core.replay import EditPlan, replay
from noisespace.core.rows import Rows, fresh_noise
from noisespace.core.streams import stream
from noisespace.editing.attention.token_alignment import find_word, words_of
from noisespace.editing.context import EditContext, nearest_scale
from noisespace.errors import InputError
from noisespace.system.fields import Threshold


@torch.no_grad()
def source_maps(context: EditContext) -> Tensor:
    """The source's cross-attention, mean over steps, heads and sites: (image, token, h, w).

    From a replay of the code under its own prompt, at the sites whose maps are nearest to 16 x 16
    (where the token maps are sharpest; arXiv 2208.01626, sec. 3).
    """
    sites = context.find("cross", "attention maps")
    scale = nearest_scale(sites, context.latent)
    seen: list[Tensor] = []

    def reads(step: int, site: Site) -> bool:
        return site.kind == "cross" and site.scale == scale

    def probs(step: int, site: Site, p: Tensor) -> Tensor:
        seen.append(p[0, :, 0].mean(1))  # (image, query, token)
        return p

    w = context.guidance[0]
    rows = Rows.of((context.source, None), context.null, (w, w), True)
    generators = [stream(0, "attention") for _ in range(context.images)]
    noise, controls = fresh_noise(context.code.path, generators), Controls(probs=probs, reads=reads)
    for _ in replay(EditPlan(context.model, context.code, rows, controls, noise)):
        pass
    mean = torch.stack(seen).mean(0).transpose(1, 2)
    height, width = (-(-side // scale) for side in context.latent)
    return mean.unflatten(-1, (height, width))


@dataclass(frozen=True)
class AttentionMaps:
    """``maps`` (image, word, h, w), each word's share of the attention; ``words`` of each image."""

    words: tuple[tuple[str, ...], ...]
    maps: tuple[Tensor, ...]


def word_maps(context: EditContext, words: Sequence[str] | None = None) -> AttentionMaps:
    """The map of each word (all of the prompt's where none are given), summed over its tokens.

    Raises InputError, saying which words there are, for one that the prompt lacks.
    """
    prompts, tokens = context.source.prompts, context.source.tokens
    chosen = []
    for prompt, row in zip(prompts, tokens, strict=True):
        wanted = tuple(words or dict.fromkeys(word.text for word in words_of(row)))
        if not wanted:
            raise InputError(f"the prompt {prompt!r} has no words whose attention could be shown")
        chosen.append({word: find_word(row, word, prompt) for word in wanted})
    maps = source_maps(context)
    stacked = [
        torch.stack([m[at].sum(0) for at in c.values()]) for m, c in zip(maps, chosen, strict=True)
    ]
    return AttentionMaps(tuple(tuple(c) for c in chosen), tuple(stacked))


@dataclass(frozen=True)
class AttentionMask:
    """A mask from the source's attention to ``word``: ``mask=AttentionMask("cat")``.

    Inside is where the word's map, widened by one position, exceeds ``threshold`` of its maximum.
    """

    word: str
    threshold: Threshold = 0.3

    def check(self, context: EditContext) -> None:
        """Raises InputError for a word that a prompt lacks."""
        context.find("cross", "a mask from attention")
        for prompt, tokens in zip(context.source.prompts, context.source.tokens, strict=True):
            find_word(tokens, self.word, prompt)

    def mask(self, context: EditContext) -> Tensor:
        """(image, 1, 1, h, w) of 0 and 1. Raises InputError as ``check`` does."""
        self.check(context)
        maps = torch.stack(word_maps(context, [self.word]).maps)  # (image, 1, h, w)
        wide = interpolate(max_pool2d(maps, 3, stride=1, padding=1), context.latent)
        inside = wide > self.threshold * wide.amax((-2, -1), keepdim=True)
        return inside.to(context.code.path)[:, :, None]
