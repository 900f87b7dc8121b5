"""UniTune: the network is fitted to one image under its prompt, then SDEdit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from noisespace.core.code import Code
from noisespace.core.grid import Grid
from noisespace.inversion.problem import Defaults, Problem, Rank, Rate, Strength
from noisespace.inversion.sdedit import SDEdit
from noisespace.inversion.tuning.adapter_fitting import Iterations, check_one, fit, recomputing_fit
from noisespace.models.adapters import new_adapter


@dataclass(frozen=True)
class UniTune:
    """UniTune (arXiv 2210.09477): the network is fitted to the image under its prompt, then SDEdit.

    A low-rank adapter is fitted by the loss of the training on fresh noisings. In the paper the
    prompt of the fit is a rare word, which the edit's prompt then begins with. One image at a time.

    ``strength``: the share of the steps that an edit starts from; ``iterations``: updates of the
    fit; ``lr``: Adam's rate; ``rank``: of the adapter; ``recompute`` as in ``NullText``.
    """

    strength: Strength = 0.8
    iterations: Iterations = 128
    lr: Rate = 0.001
    rank: Rank = 8
    recompute: bool | None = None

    defaults: ClassVar[Defaults] = Defaults(steps=50, invert=1.0, edit=7.5)

    def check(self, grid: Grid) -> None:
        SDEdit(self.strength).check(grid)

    def invert(self, problem: Problem) -> Code:
        check_one(problem, "unitune")
        adapter = new_adapter(problem.network, self.rank, problem.generators[0])
        counts = (self.iterations, self.lr)
        with recomputing_fit(problem, adapter, self.recompute):
            fit(problem, adapter, lambda _: problem.text, counts, (0, self.iterations))
        code = SDEdit(self.strength).invert(problem)
        return replace(code, adapter=adapter)
