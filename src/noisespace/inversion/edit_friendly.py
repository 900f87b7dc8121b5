"""Edit-friendly DDPM inversion: independent noisings of the image, and the maps between them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Interval

from noisespace.core.code import Code
from noisespace.core.grid import Grid
from noisespace.core.guidance import under_guidance
from noisespace.core.steps import Ancestral
from noisespace.core.transition import posterior
from noisespace.errors import InputError
from noisespace.inversion.parallel import with_residuals
from noisespace.inversion.problem import Defaults, NoisyEta, Problem, Skip
from noisespace.system.fields import Slider


@dataclass(frozen=True)
class EditFriendly:
    """Edit-friendly DDPM inversion (arXiv 2304.06140, Alg. 1).

    x_t = alpha_t x0 + sigma_t e_t with e_t *independent* for every t: the noise maps then carry the
    structure of the image. The path needs no network, so that all residuals are evaluated in a few
    large batches, and only for the steps that will run. The last path entry is x0 itself, so that
    the last step is exact.

    ``skip``: steps (int) or a share (float) that a replay leaves out, noisiest first; ``eta`` in
    (0, 1]; ``live``: keep no residual, take it from the source row while editing; ``order``:
    "parallel", or "sequential" for the algorithm as it is printed, one evaluation after the other,
    each state computed anew from its map; ``lattice``: states on a lattice, with which a replay is
    exact at every setting (docs/concepts.md). ``shift``: each state holds as little noise as the
    one so many steps later, while the network is told its own level: what makes the maps of a
    few-step model those that it can edit with (TurboEdit, arXiv 2408.00735: 4 of 5 steps, shift 1).
    """

    skip: Skip = 0.36
    eta: NoisyEta = 1.0
    live: bool = False
    order: Literal["parallel", "sequential"] = field(default="parallel", repr=False)
    lattice: bool = field(default=True, repr=False)
    shift: Annotated[int, Interval(ge=0), Slider(0, 4, 1)] = field(default=0, repr=False)

    defaults: ClassVar[Defaults] = Defaults(steps=100, invert=3.5, edit=15.0)

    def check(self, grid: Grid) -> None:
        grid.first(self.skip)
        if self.shift >= len(grid):
            raise InputError(f"shift must be less than the {len(grid)} steps, got {self.shift}")
        if self.order == "sequential" and self.live:
            raise InputError("a live code is computed while it is edited: leave out order or live")

    def invert(self, problem: Problem) -> Code:
        first = problem.grid.first(self.skip)
        # Every level's noise is drawn, whatever is skipped: a seed means the same for every skip.
        noise = problem.noise(len(problem.grid))[first:]
        path = problem.noise_to_levels(first, noise, self.shift)
        code = Code(problem.grid, path, Ancestral(self.eta, "all"), info=problem.info())
        if self.order == "sequential":
            return one_by_one(problem, code)
        return with_residuals(problem, code, self.live, self.lattice)


def one_by_one(problem: Problem, code: Code) -> Code:
    """Algorithm 1 to the letter: z = (x_{t-} - mean(x_t)) / std, then x_{t-} = mean + std z."""
    predict = under_guidance(problem.model, problem.null, problem.guidance)
    x, path, residuals = code.path[0], [code.path[0]], []
    for k, after in enumerate(code.path[1:]):
        at, to = code.grid.level(code.first + k), code.grid.level(code.first + k + 1)
        mean, std = posterior(predict(x, at, problem.text), at, to, code.eta)
        wide = std.to(mean)
        residuals.append((after - mean) / wide * wide if std > 0 else after - mean)
        x = mean + residuals[-1]
        path.append(x)
        problem.tell(k + 1, len(code.path) - 1)
    return replace(code, path=torch.stack(path), residual=torch.stack(residuals))
