"""Direct inversion: the source row is kept on its path, the target row is left alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from noisespace.core.code import Code
from noisespace.core.grid import Grid
from noisespace.core.steps import Ancestral
from noisespace.inversion.ascent import Told, climb, explicit_ascent
from noisespace.inversion.parallel import with_residuals
from noisespace.inversion.problem import Defaults, Problem


@dataclass(frozen=True)
class Direct:
    """Direct (PnP) inversion (arXiv 2310.01506): DDIM ascent, corrected in the source row only.

    ``live``: take the correction from the source row while editing; no residual is kept;
    ``lattice``: as in ``EditFriendly``, for the source row.
    """

    told: Told = "lower"
    live: bool = False
    lattice: bool = field(default=True, repr=False)

    defaults: ClassVar[Defaults] = Defaults(steps=50, invert=1.0, edit=7.5)

    def check(self, grid: Grid) -> None:
        """Every setting fits every grid."""

    def invert(self, problem: Problem) -> Code:
        path = climb(problem, 0, explicit_ascent(problem, self.told))
        code = Code(problem.grid, path, Ancestral(correct="source"), info=problem.info())
        return with_residuals(problem, code, self.live, self.lattice)
