"""Inversions that undo the steps of a replay algebraically, one after the other."""

from __future__ import annotations

import torch
from torch import Tensor

from noisespace.core.code import Code
from noisespace.core.grid import Grid
from noisespace.core.guidance import under_guidance
from noisespace.core.prediction import Prediction
from noisespace.core.steps import Undoable
from noisespace.errors import InputError
from noisespace.inversion.problem import Problem


def undo_steps(problem: Problem, step: Undoable, first: int, pair: tuple[Tensor, Tensor]) -> Code:
    """The code that a step of two states replays: from the clean level's pair up to ``first``."""
    grid, n = problem.grid, len(problem.grid)
    predict = under_guidance(problem.model, problem.null, problem.guidance)

    def ask(x: Tensor, i: int) -> Prediction:
        return predict(x, grid.level(i), problem.text)

    path = [problem.x0]
    for i in range(n - 1, first - 1, -1):
        pair = step.undo(ask, grid, i, pair)
        if not torch.isfinite(pair[0]).all():
            raise InputError(
                f"the coupled states grew without bound while inverting (level {i} of {n}): "
                "use a smaller guidance, a larger p or a smaller strength"
            )
        path.append(pair[0])
        problem.tell(n - i, n - first)
    kept = {"twin": pair[1][None]}
    return Code(grid, torch.stack(path[::-1]), step, kept=kept, info=problem.info())


def check_strength(strength: float, grid: Grid, least: int) -> None:
    """Refuses a share of the steps that leaves fewer than ``least``."""
    if round(strength * len(grid)) < least:
        raise InputError(
            f"strength must be a share in (0, 1] of the {len(grid)} steps that leaves at least "
            f"{least}, got {strength!r}"
        )
    if float(grid.alpha[len(grid) - round(strength * len(grid))]) == 0:
        raise InputError(
            "the noisiest level of this schedule holds no signal (alpha = 0), from which coupled "
            "states cannot step: use a strength below 1"
        )
