"""CycleDiffusion: the path is sampled from the posterior given the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from noisespace.code import Code
from noisespace.inversion.base import Defaults, Problem
from noisespace.inversion.parallel import freeze
from noisespace.prediction import Prediction
from noisespace.schedule import Grid
from noisespace.step import check_eta, posterior


@dataclass(frozen=True)
class CycleDiffusion:
    """CycleDiffusion (arXiv 2210.05559): x_T = noised x0, then x_{t-} ~ q(x_{t-} | x_t, x0).

    The path is one native trajectory that happens to end at the image; it needs no network.
    Fields as in EditFriendly; their paper's eta is .1.
    """

    skip: int | float = 0.36
    eta: float = 0.1
    live: bool = False

    defaults: ClassVar[Defaults] = Defaults(steps=100, invert=1.0, edit=7.5)

    def check(self, grid: Grid) -> None:
        check_eta(self.eta, noisy=True)
        grid.first(self.skip)

    def invert(self, problem: Problem) -> Code:
        grid, x0 = problem.grid, problem.x0
        first = grid.first(self.skip)
        noise = problem.noise(len(grid))
        at = grid.level(first)
        x = at.alpha.to(x0) * x0 + at.sigma.to(x0) * noise[first]
        path = [x]
        for i in range(first, len(grid) - 1):
            at, to = grid.level(i), grid.level(i + 1)
            eps = (x - at.alpha.to(x0) * x0) / at.sigma.to(x0)
            mean, std = posterior(Prediction(x0, eps), at, to, self.eta)
            x = mean + std.to(x0) * noise[i + 1]
            path.append(x)
        code = Code(grid, torch.stack([*path, x0]), self.eta, "all", info=problem.info())
        if self.live:
            return code
        return freeze(problem.denoise, code, problem.text, problem.null, problem.progress)
