"""Edit-friendly DDPM inversion: independent noisings of the image, and the maps between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from noisespace.code import Code
from noisespace.inversion.base import Defaults, Problem
from noisespace.inversion.parallel import freeze
from noisespace.schedule import Grid
from noisespace.step import check_eta


@dataclass(frozen=True)
class EditFriendly:
    """Edit-friendly DDPM inversion (arXiv 2304.06140, Alg. 1).

    x_t = alpha_t x0 + sigma_t e_t with e_t *independent* for every t: the noise maps then carry the
    structure of the image. The path needs no network, so that all residuals are evaluated in a few
    large batches, and only for the steps that will run. The last path entry is x0 itself, so that
    the last step is exact.

    ``skip``: steps (int) or a share (float) that a replay leaves out, noisiest first; ``eta`` in
    (0, 1]; ``live``: keep no residual, take it from the source row while editing.
    """

    skip: int | float = 0.36
    eta: float = 1.0
    live: bool = False

    defaults: ClassVar[Defaults] = Defaults(steps=100, invert=3.5, edit=15.0)

    def check(self, grid: Grid) -> None:
        check_eta(self.eta, noisy=True)
        grid.first(self.skip)

    def invert(self, problem: Problem) -> Code:
        grid, x0 = problem.grid, problem.x0
        first = grid.first(self.skip)
        # Every level's noise is drawn, whatever is skipped: a seed means the same for every skip.
        noise = problem.noise(len(grid))[first:]
        alpha, sigma = amplitudes(grid, first, x0)
        path = torch.cat([alpha * x0 + sigma * noise, x0[None]])
        code = Code(grid, path, self.eta, "all", info=problem.info())
        if self.live:
            return code
        return freeze(problem.denoise, code, problem.text, problem.null, problem.progress)


def amplitudes(grid: Grid, first: int, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """alpha and sigma of the levels first..n-1, (levels, 1, 1, 1, 1), in the state's dtype."""
    shape = (-1, 1, 1, 1, 1)
    return grid.alpha[first:-1].to(like).view(shape), grid.sigma[first:-1].to(like).view(shape)
