"""DDIM inversion: the path climbs from x0 by ``renoise`` upwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from noisespace.core.code import Code
from noisespace.core.grid import Grid
from noisespace.errors import InputError
from noisespace.inversion.ascent import Told, check_told, climb, explicit_ascent
from noisespace.inversion.problem import Defaults, Problem


@dataclass(frozen=True)
class DDIM:
    """DDIM inversion (arXiv 2105.05233, app. F): each step up uses the noise at its lower state.

    ``told``: the timestep the network is told there, the lower level's or the upper level's (as in
    the null-text code); ``stop``: how far up to climb, a number of steps (int) or a share of them
    (float); None is all the way; ``regularise``: iterations a step of pix2pix-zero's noise
    regularisation (arXiv 2302.03027; theirs is 5), which makes the end more like white noise and
    the reconstruction a little worse.
    """

    told: Told = "lower"
    stop: int | float | None = None
    regularise: int = 0

    defaults: ClassVar[Defaults] = Defaults(steps=50, invert=1.0, edit=7.5)

    def check(self, grid: Grid) -> None:
        check_told(self.told)
        grid.climbed(self.stop)
        if isinstance(self.regularise, bool) or not 0 <= self.regularise <= 100:
            raise InputError(f"regularise must be 0 to 100 iterations, got {self.regularise!r}")

    def invert(self, problem: Problem) -> Code:
        up = explicit_ascent(problem, self.told, regularise=self.regularise)
        path = climb(problem, problem.grid.climbed(self.stop), up)
        return Code(problem.grid, path, info=problem.info())
