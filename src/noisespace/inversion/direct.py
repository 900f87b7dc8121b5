"""Direct inversion: the source row is kept on its path, the target row is left alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from noisespace.code import Code
from noisespace.inversion.base import Defaults, Problem
from noisespace.inversion.ddim import Told, ascent, check_told, climb
from noisespace.inversion.parallel import freeze
from noisespace.schedule import Grid


@dataclass(frozen=True)
class Direct:
    """Direct (PnP) inversion (arXiv 2310.01506): DDIM ascent, corrected in the source row only.

    ``live``: take the correction from the source row while editing; no residual is kept.
    """

    told: Told = "lower"
    live: bool = False

    defaults: ClassVar[Defaults] = Defaults(steps=50, invert=1.0, edit=7.5)

    def check(self, grid: Grid) -> None:
        check_told(self.told)

    def invert(self, problem: Problem) -> Code:
        path = climb(problem, 0, ascent(problem, self.told))
        code = Code(problem.grid, path, correct="source", info=problem.info())
        if self.live:
            return code
        return freeze(problem.denoise, code, problem.text, problem.null, problem.progress)
