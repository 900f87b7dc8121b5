"""Where a prompt's words look: cross-attention maps over the image, and masks made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from noisespace.denoiser import Controls, Site
from noisespace.editing.alignment import find_word, words_of
from noisespace.editing.base import Brief, nearest_scale
from noisespace.errors import InputError
from noisespace.replay import replay
from noisespace.rows import assemble, fresh_noise


@torch.no_grad()
def source_maps(brief: Brief) -> Tensor:
    """The source's cross-attention, mean over steps, heads and sites: (image, token, h, w).

    From a replay of the code under its own prompt, at the sites whose maps are nearest to 16 x 16
    (where the token maps are sharpest; arXiv 2208.01626, sec. 3).
    """
    sites = brief.find("cross", "attention maps")
    scale = nearest_scale(sites, brief.latent)
    seen: list[Tensor] = []

    def reads(step: int, site: Site) -> bool:
        return site.kind == "cross" and site.scale == scale

    def probs(step: int, site: Site, p: Tensor) -> Tensor:
        seen.append(p[0, :, 0].mean(1))  # (image, query, token)
        return p

    cast = assemble((brief.source, None), brief.null, (brief.guidance[0], brief.guidance[0]), True)
    generators = [torch.Generator().manual_seed(0) for _ in range(brief.images)]
    noise = fresh_noise(brief.code, generators)
    for _ in replay(brief.denoise, brief.code, cast, Controls(probs=probs, reads=reads), noise):
        pass
    mean = torch.stack(seen).mean(0).transpose(1, 2)
    height, width = (-(-side // scale) for side in brief.latent)
    return mean.unflatten(-1, (height, width))


@dataclass(frozen=True)
class AttentionMaps:
    """``maps`` (image, word, h, w), each word's share of the attention; ``words`` of each image."""

    words: tuple[tuple[str, ...], ...]
    maps: tuple[Tensor, ...]


def word_maps(brief: Brief, words: Sequence[str] | None = None) -> AttentionMaps:
    """The map of each word (all of the prompt's where none are given), summed over its tokens.

    Raises InputError, saying which words there are, for one that the prompt lacks.
    """
    prompts, tokens = brief.source.prompts, brief.source.tokens
    chosen = []
    for prompt, row in zip(prompts, tokens, strict=True):
        wanted = tuple(words or dict.fromkeys(word.text for word in words_of(row)))
        if not wanted:
            raise InputError(f"the prompt {prompt!r} has no words whose attention could be shown")
        chosen.append({word: find_word(row, word, prompt) for word in wanted})
    maps = source_maps(brief)
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
    threshold: float = 0.3

    def check(self, brief: Brief) -> None:
        """Raises InputError for a word that a prompt lacks."""
        if not isinstance(self.threshold, (int, float)) or not 0 < self.threshold < 1:
            raise InputError(f"threshold must be in (0, 1), got {self.threshold!r}")
        brief.find("cross", "a mask from attention")
        for prompt, tokens in zip(brief.source.prompts, brief.source.tokens, strict=True):
            find_word(tokens, self.word, prompt)

    def mask(self, brief: Brief) -> Tensor:
        """(image, 1, 1, h, w) of 0 and 1. Raises InputError as ``check`` does."""
        self.check(brief)
        maps = torch.stack(word_maps(brief, [self.word]).maps)  # (image, 1, h, w)
        wide = interpolate(max_pool2d(maps, 3, stride=1, padding=1), brief.latent)
        inside = wide > self.threshold * wide.amax((-2, -1), keepdim=True)
        return inside.to(brief.code.path)[:, :, None]
