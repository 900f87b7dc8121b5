"""EDICT: exact deterministic inversion by two coupled states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from noisespace.core.code import Code
from noisespace.core.grid import Grid
from noisespace.core.steps import Edict
from noisespace.errors import InputError
from noisespace.inversion.problem import Defaults, Problem
from noisespace.inversion.undoing import check_strength, undone

STEPS = 50  # for which p is given


@dataclass(frozen=True)
class EDICT:
    """EDICT (arXiv 2211.12446): exact inversion by two coupled states, two evaluations a step.

    ``p``: the mixing weight of a grid of 50 steps. Other grids take p^(50 / steps), the same
    mixing along the whole way: with p itself the inverse would grow by p^-2 a step without end.
    ``strength``: the share of the steps that are inverted; ``alternate``: every other step the
    second state is stepped first, as the authors do.
    """

    p: float = 0.93
    strength: float = 0.8
    alternate: bool = True

    defaults: ClassVar[Defaults] = Defaults(steps=50, invert=3.0, edit=3.0)

    def check(self, grid: Grid) -> None:
        if not isinstance(self.p, (int, float)) or not 0.5 < self.p <= 1:
            raise InputError(f"p must be above .5 and at most 1, got {self.p!r}")
        check_strength(self.strength, grid, 1)

    def invert(self, problem: Problem) -> Code:
        first = len(problem.grid) - round(self.strength * len(problem.grid))
        p = self.p ** (STEPS / len(problem.grid))
        step = Edict(p, "order" if self.alternate else "nothing")
        return undone(problem, step, first, (problem.x0, problem.x0.clone()))
