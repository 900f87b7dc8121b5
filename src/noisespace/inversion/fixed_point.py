"""Fixed-point inversion: DDIM inversion with the noise of the upper state, found by iteration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Interval
from torch import Tensor

from noisespace.core.code import Code
from noisespace.core.grid import Grid
from noisespace.core.guidance import under_guidance
from noisespace.core.prediction import Prediction
from noisespace.core.transition import renoise
from noisespace.inversion.ascent import climb
from noisespace.inversion.problem import Defaults, Problem


@dataclass(frozen=True)
class FixedPoint:
    """DDIM inversion by fixed-point iteration of the implicit equation (cf. arXiv 2403.14602).

    The noise is taken at the *upper* state, told the upper level; ``iterations`` evaluations a
    step. Where the map contracts this converges to the exact inverse of the discrete DDIM step
    (not of the ODE). ``average``: the mean of the last two iterates' noise is used.
    """

    iterations: Annotated[int, Interval(ge=1, le=1000)] = 5
    average: bool = False

    defaults: ClassVar[Defaults] = Defaults(steps=50, invert=1.0, edit=7.5)

    def check(self, grid: Grid) -> None:
        """Every setting fits every grid."""

    def invert(self, problem: Problem) -> Code:
        predict = under_guidance(problem.model, problem.null, problem.guidance)
        grid = problem.grid

        def implicit(x: Tensor, i: int) -> Tensor:
            lower, upper = grid.level(i + 1), grid.level(i)
            up, last = x, None
            for _ in range(self.iterations):
                eps = predict(up, upper, problem.text).eps
                mixed = (eps + last) / 2 if self.average and last is not None else eps
                up, last = renoise(Prediction.from_eps(mixed, x, lower), upper), eps
            return up

        return Code(grid, climb(problem, 0, implicit), info=problem.info())
