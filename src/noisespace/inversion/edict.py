"""EDICT: exact deterministic inversion by two coupled states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Interval

from noisespace.core.code import Code
from noisespace.core.grid import Grid
from noisespace.core.steps import Edict
from noisespace.inversion.problem import Defaults, Problem, Strength
from noisespace.inversion.undoing import check_strength, undo_steps

STEPS = 50  # for which p is given


@dataclass(frozen=True)
class EDICT:
    """EDICT (arXiv 2211.12446): exact inversion by two coupled states, two evaluations a step.

    ``p``: the mixing weight of a grid of 50 steps. Other grids take p^(50 / steps), the same
    mixing along the whole way: with p itself the inverse would grow by p^-2 a step without end.
    ``strength``: the share of the steps that are inverted; ``alternate``: every other step the
    second state is stepped first, as the authors do.
    """

    p: Annotated[float, Interval(gt=0.5, le=1), "above .5 and at most 1"] = 0.93
    strength: Strength = 0.8
    alternate: bool = True

    defaults: ClassVar[Defaults] = Defaults(steps=50, invert=3.0, edit=3.0)

    def check(self, grid: Grid) -> None:
        check_strength(self.strength, grid, 1)

    def invert(self, problem: Problem) -> Code:
        first = len(problem.grid) - round(self.strength * len(problem.grid))
        p = self.p ** (STEPS / len(problem.grid))
        step = Edict(p, "order" if self.alternate else "nothing")
        return undo_steps(problem, step, first, (problem.x0, problem.x0.clone()))
