"""DDIM inversion and its fixed-point refinement: the path climbs from x0 by ``renoise`` upwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from noisespace.code import Code
from noisespace.denoiser import Text
from noisespace.errors import InputError
from noisespace.guidance import guided
from noisespace.inversion.base import Defaults, Problem
from noisespace.inversion.regularise import whitened
from noisespace.parts import fitted
from noisespace.prediction import Prediction
from noisespace.schedule import Grid
from noisespace.step import renoise

Told = Literal["lower", "upper"]
Climb = Callable[[Tensor, int], Tensor]  # (x at level i + 1, i) -> x at level i


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
        up = ascent(problem, self.told, regularise=self.regularise)
        path = climb(problem, problem.grid.climbed(self.stop), up)
        return Code(problem.grid, path, info=problem.info())


@dataclass(frozen=True)
class FixedPoint:
    """DDIM inversion by fixed-point iteration of the implicit equation (cf. arXiv 2403.14602).

    The noise is taken at the *upper* state, told the upper level; ``iterations`` evaluations a
    step. Where the map contracts this converges to the exact inverse of the discrete DDIM step
    (not of the ODE). ``average``: the mean of the last two iterates' noise is used.
    """

    iterations: int = 5
    average: bool = False

    defaults: ClassVar[Defaults] = Defaults(steps=50, invert=1.0, edit=7.5)

    def check(self, grid: Grid) -> None:
        if not 1 <= self.iterations <= 1000:
            raise InputError(f"iterations must be a whole number >= 1, got {self.iterations!r}")

    def invert(self, problem: Problem) -> Code:
        predict = conditioned(problem, problem.text)
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


def ascent(problem: Problem, told: Told, text: Text | None = None, regularise: int = 0) -> Climb:
    """One explicit DDIM step up, by the noise at the lower state."""
    text = text or problem.text
    predict, grid = conditioned(problem, text), problem.grid

    def explicit(x: Tensor, i: int) -> Tensor:
        lower, upper = grid.level(i + 1), grid.level(i)
        eps = predict(x, lower if told == "lower" else upper, text).eps
        if regularise:
            eps = whitened(eps, regularise, problem.generators)
        return renoise(Prediction.from_eps(eps, x, lower), upper)

    return explicit


def conditioned(problem: Problem, text: Text):
    """The network under the problem's guidance."""
    w = torch.full((len(problem.x0),), problem.guidance, dtype=torch.float64)
    return guided(fitted(problem.denoise), problem.null, w)


def climb(problem: Problem, first: int, up: Climb) -> Tensor:
    """The path from the clean level up to ``first``: (levels first..n, b, c, h, w)."""
    n, x = len(problem.grid), problem.x0
    path = [x]
    for i in range(n - 1, first - 1, -1):
        x = up(x, i)
        if not torch.isfinite(x).all():
            raise InputError(
                f"the network returned NaN or infinity while inverting (level {i} of {n}): "
                "use float32, or fewer iterations"
            )
        path.append(x)
        if problem.progress:
            problem.progress(n - i, n - first)
    return torch.stack(path[::-1])


def check_told(told: str) -> None:
    if told not in ("lower", "upper"):
        raise InputError(f'told must be "lower" or "upper", got {told!r}')
