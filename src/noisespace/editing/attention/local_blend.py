"""LocalBlend: outside the edited word's attention the source stays."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from noisespace.editing.attention.running_maps import RunningMaps
from noisespace.editing.context import EditContext


@dataclass(frozen=True)
class LocalBlend:
    """The blending of one replay (arXiv 2208.01626, sec. 4), from step ``start`` on."""

    words: RunningMaps
    threshold: float
    start: int

    @classmethod
    def of(
        cls, context: EditContext, words: tuple[str, str], threshold: float, start: int
    ) -> LocalBlend:
        """Raises InputError where a prompt lacks its word."""
        return cls(RunningMaps.of(context, words, "blending"), threshold, start)

    def mask(self) -> Tensor:
        """(image, row, 1, h, w) of 0 and 1: where source or target attended to the word."""
        maps = max_pool2d(self.words.maps(), 3, stride=1, padding=1)
        maps = interpolate(maps, self.words.latent)
        inside = maps > self.threshold * maps.amax((-2, -1), keepdim=True)
        return (inside | inside[:, :1])[:, :, None]

    def after(self, step: int, x: Tensor) -> Tensor:
        """Blends states (image, row, c, h, w) once ``start`` steps have run."""
        if step < self.start:
            return x
        return torch.where(self.mask(), x, x[:, :1])
