"""The attention to one word of each prompt, collected while an edit runs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from noisespace.core.controls import Site
from noisespace.editing.attention.token_alignment import find_word
from noisespace.editing.context import EditContext, nearest_scale
from noisespace.errors import InputError


@dataclass
class RunningMaps:
    """Cross-attention of every row to its word, summed over heads, sites and the steps so far.

    ``words`` (image, row, token): which tokens are the word's; ``sums`` (image, row, query).
    """

    words: Tensor
    scale: int
    latent: tuple[int, int]
    sums: Tensor | None = None

    @classmethod
    def of(cls, context: EditContext, words: tuple[str, str], what: str) -> RunningMaps:
        """For a word of the source prompts and one of the targets'.

        Raises InputError where a prompt lacks its word.
        """
        sites = context.find("cross", what)
        chosen = torch.zeros(context.images, 1 + context.each, len(context.source.tokens[0]))
        for i, j in context.pairs():
            at = find_word(context.source.tokens[i], words[0], context.source.prompts[i])
            chosen[i, 0, at] = 1
            at = find_word(context.targets.tokens[j], words[1], context.targets.prompts[j])
            chosen[i, 1 + j - i * context.each, at] = 1
        scale = nearest_scale(sites, context.latent)
        return cls(chosen.to(context.code.path.device), scale, context.latent)

    def reads(self, site: Site) -> bool:
        return site.kind == "cross" and site.scale == self.scale

    def collect(self, p: Tensor) -> None:
        """Adds the words' part of some probabilities (image, row, head, query, token)."""
        seen = (p.mean(2) * self.words[:, :, None].to(p)).sum(-1).detach()
        self.sums = seen if self.sums is None else self.sums + seen

    def maps(self) -> Tensor:
        """(image, row, h, w), float32 at least; there is none before the first step."""
        assert self.sums is not None
        height, width = (-(-side // self.scale) for side in self.latent)
        wide = torch.promote_types(self.sums.dtype, torch.float32)
        return self.sums.unflatten(-1, (height, width)).to(wide)


def word_pair(words: tuple[str, str] | str, what: str) -> tuple[str, str]:
    """A word of each prompt, or one for both. Raises InputError for anything else."""
    pair = (words, words) if isinstance(words, str) else tuple(words)
    if len(pair) != 2 or not all(isinstance(word, str) for word in pair):
        raise InputError(f"{what} takes a word, or one of each prompt (a/b), got {words!r}")
    return pair[0], pair[1]
