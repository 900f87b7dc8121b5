"""SDEdit: noise the image (or strokes painted over it) to a level; the edit denoises it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from noisespace.core.code import Code
from noisespace.core.grid import Grid
from noisespace.core.steps import Ancestral
from noisespace.errors import InputError
from noisespace.inversion.problem import Defaults, Problem, Strength
from noisespace.pictures import images
from noisespace.system.fields import Share


@dataclass(frozen=True)
class SDEdit:
    """SDEdit (arXiv 2108.01073): one noise for all levels, from ``strength`` of the steps on.

    ``strokes``: an RGBA picture of the image's size (path, PIL image or uint8 array) painted over
    the image first; ``eta`` of the denoising that follows (their paper's SDE is 1).
    """

    strength: Strength = 0.8
    strokes: Any = None
    eta: Share = 0.0

    defaults: ClassVar[Defaults] = Defaults(steps=50, invert=1.0, edit=7.5)

    def check(self, grid: Grid) -> None:
        if round(self.strength * len(grid)) < 1:
            raise InputError(
                f"strength must be a share in (0, 1] of the {len(grid)} steps that leaves at least "
                f"one, got {self.strength!r}"
            )

    def prepare(self, picture: np.ndarray) -> np.ndarray:
        """The picture, uint8 (h, w, 3), with the strokes painted over it."""
        if self.strokes is None:
            return picture
        return images.painted(picture, self.strokes)

    def invert(self, problem: Problem) -> Code:
        grid = problem.grid
        first = len(grid) - round(self.strength * len(grid))
        path = problem.noise_to_levels(first, problem.noise(1))
        return Code(grid, path, Ancestral(self.eta), info=problem.info())
