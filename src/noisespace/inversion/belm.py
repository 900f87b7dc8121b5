"""O-BELM: exact deterministic inversion by a two-step method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from noisespace.core.code import Code
from noisespace.core.grid import Grid
from noisespace.core.guidance import under_guidance
from noisespace.core.steps import Belm
from noisespace.core.transition import renoise
from noisespace.inversion.problem import Defaults, Problem, Strength
from noisespace.inversion.undoing import check_strength, undo_steps


@dataclass(frozen=True)
class BELM:
    """O-BELM (arXiv 2410.07273): exact inversion by a two-step method, one evaluation a step.

    ``strength``: the share of the steps that are inverted.
    """

    strength: Strength = 1.0

    defaults: ClassVar[Defaults] = Defaults(steps=50, invert=1.0, edit=7.5)

    def check(self, grid: Grid) -> None:
        check_strength(self.strength, grid, 2)

    def invert(self, problem: Problem) -> Code:
        grid = problem.grid
        first = len(grid) - round(self.strength * len(grid))
        # one plain step up gives the second state
        predict = under_guidance(problem.model, problem.null, problem.guidance)
        clean = predict(problem.x0, grid.level(len(grid)), problem.text)
        pair = problem.x0, renoise(clean, grid.level(len(grid) - 1))
        return undo_steps(problem, Belm(), first + 1, pair)
