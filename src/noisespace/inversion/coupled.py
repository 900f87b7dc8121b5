"""Exact deterministic inversions: two coupled states, each step undone algebraically."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from noisespace.code import Code
from noisespace.errors import InputError
from noisespace.inversion.base import Defaults, Problem
from noisespace.inversion.ddim import conditioned
from noisespace.prediction import Prediction
from noisespace.schedule import Grid
from noisespace.stepper import Belm, Edict

STEPS = 50  # for which p is given


@dataclass(frozen=True)
class EDICT:
    """EDICT (arXiv 2211.12446): exact inversion by two coupled states, two evaluations a step.

    ``p``: the mixing weight of a grid of 50 steps. Other grids take p^(50 / steps), the same
    mixing along the whole way: with p itself the inverse would grow by p^-2 a step without end.
    ``strength``: the share of the steps that are inverted; ``alternate``: the states change roles
    every other step, which treats both alike, as the authors do.
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
        stepper = Edict(self.p ** (STEPS / len(problem.grid)), self.alternate)
        path, twin = coupled_ascent(problem, stepper, first)
        return Code(problem.grid, path, coupling=stepper, twin=twin, info=problem.info())


@dataclass(frozen=True)
class BELM:
    """O-BELM (arXiv 2410.07273): exact inversion by a two-step method, one evaluation a step.

    ``strength``: the share of the steps that are inverted.
    """

    strength: float = 1.0

    defaults: ClassVar[Defaults] = Defaults(steps=50, invert=1.0, edit=7.5)

    def check(self, grid: Grid) -> None:
        check_strength(self.strength, grid, 2)

    def invert(self, problem: Problem) -> Code:
        grid = problem.grid
        first = len(grid) - round(self.strength * len(grid))
        path, twin = coupled_ascent(problem, Belm(), first + 1)
        return Code(grid, path, coupling=Belm(), twin=twin, info=problem.info())


def coupled_ascent(problem: Problem, stepper: Edict | Belm, first: int) -> tuple[Tensor, Tensor]:
    """The first state's path (levels first..n, b, c, h, w), and the second's start at ``first``."""
    grid, n = problem.grid, len(problem.grid)
    network = conditioned(problem, problem.text)

    def predict(x: Tensor, i: int) -> Prediction:
        return network(x, grid.level(i), problem.text)

    state = stepper.begin(predict, grid, problem.x0)
    path = [problem.x0]
    for i in range(n - 1, first - 1, -1):
        state = stepper.up(predict, grid, i, state)
        if not torch.isfinite(state[0]).all():
            raise InputError(
                f"the coupled states grew without bound while inverting (level {i} of {n}): "
                "use a smaller guidance, a larger p or a smaller strength"
            )
        path.append(state[0])
        problem.tell(n - i, n - first)
    return torch.stack(path[::-1]), state[1]


def check_strength(strength: float, grid: Grid, least: int) -> None:
    """Refuses a share of the steps that leaves fewer than ``least``."""
    number = not isinstance(strength, bool) and isinstance(strength, (int, float))
    if not number or not 0 < strength <= 1 or round(strength * len(grid)) < least:
        raise InputError(
            f"strength must be a share in (0, 1] of the {len(grid)} steps that leaves at least "
            f"{least}, got {strength!r}"
        )
    if float(grid.alpha[len(grid) - round(strength * len(grid))]) == 0:
        raise InputError(
            "the noisiest level of this schedule holds no signal (alpha = 0), from which coupled "
            "states cannot step: use a strength below 1"
        )
