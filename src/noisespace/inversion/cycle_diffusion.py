"""CycleDiffusion: the path is sampled from the posterior given the image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from noisespace.core.code import Code
from noisespace.core.grid import Grid
from noisespace.core.prediction import Prediction
from noisespace.core.steps import Ancestral
from noisespace.core.transition import posterior
from noisespace.inversion.parallel import with_residuals
from noisespace.inversion.problem import Defaults, NoisyEta, Problem, Skip


@dataclass(frozen=True)
class CycleDiffusion:
    """CycleDiffusion (arXiv 2210.05559): x_T = noised x0, then x_{t-} ~ q(x_{t-} | x_t, x0).

    The path is one native trajectory that happens to end at the image; it needs no network.
    Fields as in EditFriendly; their paper's eta is .1.
    """

    skip: Skip = 0.36
    eta: NoisyEta = 0.1
    live: bool = False
    lattice: bool = field(default=True, repr=False)

    defaults: ClassVar[Defaults] = Defaults(steps=100, invert=1.0, edit=7.5)

    def check(self, grid: Grid) -> None:
        grid.first(self.skip)

    def invert(self, problem: Problem) -> Code:
        grid, x0 = problem.grid, problem.x0
        first = grid.first(self.skip)
        noise = problem.noise(len(grid))
        alpha, sigma = grid.level(first).amplitudes(x0)
        x = alpha * x0 + sigma * noise[first]
        path = [x]
        for i in range(first, len(grid) - 1):
            at, to = grid.level(i), grid.level(i + 1)
            alpha, sigma = at.amplitudes(x)
            mean, std = posterior(Prediction(x0, (x - alpha * x0) / sigma), at, to, self.eta)
            x = mean + std.to(x0) * noise[i + 1]
            path.append(x)
        step = Ancestral(self.eta, "all")
        code = Code(grid, torch.stack([*path, x0]), step, info=problem.info())
        return with_residuals(problem, code, self.live, self.lattice)
