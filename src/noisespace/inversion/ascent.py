"""The way up: DDIM inversion by ``renoise`` towards noisier levels, from x0 on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from noisespace.core.condition import Condition
from noisespace.core.guidance import under_guidance
from noisespace.core.prediction import Prediction
from noisespace.core.transition import renoise
from noisespace.errors import InputError
from noisespace.inversion.noise_regularisation import whiten
from noisespace.inversion.problem import Problem

Told = Literal["lower", "upper"]
Climb = Callable[[Tensor, int], Tensor]  # (x at level i + 1, i) -> x at level i


def explicit_ascent(
    problem: Problem, told: Told, text: Condition | None = None, regularise: int = 0
) -> Climb:
    """One explicit DDIM step up, by the noise at the lower state (arXiv 2105.05233, app. F)."""
    text = text or problem.text
    predict, grid = under_guidance(problem.model, problem.null, problem.guidance), problem.grid

    def explicit(x: Tensor, i: int) -> Tensor:
        lower, upper = grid.level(i + 1), grid.level(i)
        eps = predict(x, lower if told == "lower" else upper, text).eps
        if regularise:
            eps = whiten(eps, regularise, problem.generators)
        return renoise(Prediction.from_eps(eps, x, lower), upper)

    return explicit


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
