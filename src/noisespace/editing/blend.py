"""LocalBlend: outside the edited word's attention the source stays."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from noisespace.denoiser import Site
from noisespace.editing.alignment import find_word
from noisespace.editing.base import Brief, nearest_scale
from noisespace.errors import InputError


@dataclass
class LocalBlend:
    """The blending of one replay (arXiv 2208.01626, sec. 4): collects maps, then blends states.

    ``words`` (image, row, token): which tokens are the edited word's; ``sums`` (image, row, query):
    its attention so far.
    """

    words: Tensor
    scale: int
    latent: tuple[int, int]
    threshold: float
    start: int
    sums: Tensor | None = None

    @classmethod
    def of(cls, brief: Brief, words: tuple[str, str], threshold: float, start: int) -> LocalBlend:
        """Raises InputError where a prompt lacks its word."""
        if not 0 < threshold < 1:
            raise InputError(f"blend_threshold must be in (0, 1), got {threshold!r}")
        sites = brief.find("cross", "blending")
        tokens = len(brief.source.tokens[0])
        chosen = torch.zeros(brief.images, 1 + brief.each, tokens)
        for i, j in brief.pairs():
            at = find_word(brief.source.tokens[i], words[0], brief.source.prompts[i])
            chosen[i, 0, at] = 1
            at = find_word(brief.targets.tokens[j], words[1], brief.targets.prompts[j])
            chosen[i, 1 + j - i * brief.each, at] = 1
        scale = nearest_scale(sites, brief.latent)
        return cls(chosen.to(brief.code.path.device), scale, brief.latent, threshold, start)

    def reads(self, site: Site) -> bool:
        return site.kind == "cross" and site.scale == self.scale

    def collect(self, p: Tensor) -> None:
        """Adds the edited word's part of some probabilities (image, row, head, query, token)."""
        seen = (p.mean(2) * self.words[:, :, None].to(p)).sum(-1).detach()
        self.sums = seen if self.sums is None else self.sums + seen

    def mask(self) -> Tensor:
        """(image, row, 1, h, w) of 0 and 1: where source or target attended to the word."""
        assert self.sums is not None
        height, width = (-(-side // self.scale) for side in self.latent)
        maps = self.sums.unflatten(-1, (height, width))
        maps = max_pool2d(maps.float(), 3, stride=1, padding=1)
        maps = interpolate(maps, self.latent)
        inside = maps > self.threshold * maps.amax((-2, -1), keepdim=True)
        return (inside | inside[:, :1])[:, :, None]

    def after(self, step: int, x: Tensor) -> Tensor:
        """Blends states (image, row, c, h, w) once ``start`` steps have run."""
        if step < self.start:
            return x
        return torch.where(self.mask(), x, x[:, :1])
