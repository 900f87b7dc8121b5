"""Null-text inversion: the null text is tuned so that guidance keeps the source on its path."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from torch import Tensor

from noisespace.core.code import Code, Info
from noisespace.core.grid import Grid
from noisespace.errors import InputError
from noisespace.inversion.ascent import Told, climb, explicit_ascent
from noisespace.inversion.problem import Defaults, Problem, Rate, Tolerance, Weight
from noisespace.inversion.tuning.embedding import (
    Tuning,
    recomputing_tuning,
    tune_globally,
    tune_noisings,
    tune_steps,
)
from noisespace.inversion.tuning.solvers import Solver
from noisespace.system.fields import Count


@dataclass(frozen=True)
class NullText:
    """Null-text inversion (arXiv 2211.09794): one optimised null embedding a step.

    The pivot is the DDIM ascent at w = 1; then each step's null embedding is tuned until the guided
    step ends on the pivot. "adam" is Algorithm 1 as published, the default, so that the name means
    the paper's method; "gauss-newton" reaches the same in a third of the time, and edits better
    (docs/optimised.md).

    ``guidance``: the w that the embeddings are for; ``iterations``: updates a step; None is the
    solver's usual number, 10 of Adam's, 1 to 5 of Gauss-Newton's; ``lr``: Adam's rate, which falls
    by 1 % a step; ``tolerance``: step k stops at a loss below (1 + 2k) times it; ``solver``: "adam"
    as published, or "gauss-newton"; ``share``: "step", an embedding for each, or "global";
    ``pivot``: "ddim", or an ablation, "random" or "none";
    ``told``: as in ``DDIM``; ``recompute``: gradient checkpointing; None is where memory is short.

    The ablations of the paper: ``share="global"``, one embedding for all steps; ``pivot="random"``,
    one noise for all levels; ``pivot="none"``, a fresh noising each iteration and the loss of eps.
    A global embedding, and one without a pivot, are always tuned by Adam.
    """

    guidance: Weight = 7.5
    iterations: Count | None = None
    lr: Rate = 0.01
    tolerance: Tolerance = 1e-5
    share: Literal["step", "global"] = "step"
    pivot: Literal["ddim", "random", "none"] = "ddim"
    solver: Solver = "adam"
    told: Told = "lower"
    recompute: bool | None = None

    defaults: ClassVar[Defaults] = Defaults(steps=50, invert=1.0, edit=7.5, null="makes")

    @property
    def resumes(self) -> bool:
        """Whether an interrupted run can go on from a checkpoint."""
        return self.share == "step" and self.pivot != "none"

    def check(self, grid: Grid) -> None:
        if self.guidance == 1:
            raise InputError(
                "guidance 1 leaves null-text nothing to tune: the null text has no weight there; "
                "use ddim, or another guidance"
            )

    def invert(self, problem: Problem) -> Code:
        tuning = self.tuning()
        tuning.start(problem)  # refuses a model without text before the network runs
        path = pivot_of(problem, self.pivot, self.told)
        with recomputing_tuning(problem, tuning, self.recompute):
            if self.pivot == "none":
                found = tune_noisings(problem, tuning, self.share == "global")
            elif self.share == "global":
                found = tune_globally(problem, tuning, path)
            else:
                found = tune_steps(problem, tuning, path)
        return Code(problem.grid, path, null=found, info=tuned_info(problem, self.guidance))

    def tuning(self) -> Tuning:
        moving = self.share == "global" or self.pivot == "none"
        return Tuning(
            "null",
            self.guidance,
            self.iterations,
            "adam" if moving else self.solver,
            # the published fall turns negative past 100 steps
            lambda k: self.lr * max(1 - k / 100, 0.01),
            lambda k: self.tolerance * (1 + 2 * k),
        )


def tuned_info(problem: Problem, guidance: float) -> Info:
    """Of a code whose embeddings are for one guidance."""
    own = {"guidance": guidance, "edit_guidance": guidance}
    return problem.info(**own, pivot_guidance=problem.guidance)


def pivot_of(problem: Problem, pivot: str, told: Told) -> Tensor:
    """The states that an optimisation holds on to, (n + 1, b, c, h, w)."""
    if pivot != "random":
        quiet = replace(problem, progress=None)
        return climb(quiet, 0, explicit_ascent(quiet, told))
    return problem.noise_to_levels(0, problem.noise(1))
