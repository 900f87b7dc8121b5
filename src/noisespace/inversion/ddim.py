"""DDIM inversion: the path climbs from x0 by ``renoise`` upwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Interval

from noisespace.core.code import Code
from noisespace.core.grid import Grid
from noisespace.inversion.ascent import Told, climb, explicit_ascent
from noisespace.inversion.problem import Defaults, Problem
from noisespace.system.fields import Slider


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
    regularise: Annotated[int, Interval(ge=0, le=100), Slider(0, 20, 1)] = 0

    defaults: ClassVar[Defaults] = Defaults(steps=50, invert=1.0, edit=7.5)

    def check(self, grid: Grid) -> None:
        grid.top_of_climb(self.stop)

    def invert(self, problem: Problem) -> Code:
        up = explicit_ascent(problem, self.told, regularise=self.regularise)
        path = climb(problem, problem.grid.top_of_climb(self.stop), up)
        return Code(problem.grid, path, info=problem.info())
