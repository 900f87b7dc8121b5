"""Prompt tuning and textual inversion: the text embedding is tuned instead of the null text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from noisespace.core.code import Code
from noisespace.core.grid import Grid
from noisespace.errors import InputError
from noisespace.inversion.ascent import Told, climb, explicit_ascent
from noisespace.inversion.null_text import tuned_info
from noisespace.inversion.problem import Defaults, Problem, Rate, Tolerance, Weight
from noisespace.inversion.tuning.embedding import (
    Tuning,
    recomputing_tuning,
    tune_steps,
)
from noisespace.inversion.tuning.solvers import Solver
from noisespace.system.fields import Count, Share


@dataclass(frozen=True)
class PromptTuning:
    """Prompt tuning inversion (arXiv 2305.04441): one optimised text embedding a step.

    The pivot is the unconditional DDIM ascent (w = 0), so that no prompt is needed. An edit goes
    along ``blend`` of the way from the optimised embedding to the target's. ``guidance``, ``lr``,
    ``tolerance``, ``solver`` and ``recompute`` as in ``NullText``.
    """

    guidance: Weight = 7.5
    iterations: Count | None = None
    blend: Share = 0.9
    lr: Rate = 0.01
    tolerance: Tolerance = 1e-5
    solver: Solver = "adam"
    told: Told = "lower"
    recompute: bool | None = None

    defaults: ClassVar[Defaults] = Defaults(steps=50, invert=0.0, edit=7.5, null="reads")
    resumes: ClassVar[bool] = True

    def check(self, grid: Grid) -> None:
        if self.guidance == 0:
            raise InputError("guidance 0 leaves prompt-tuning nothing to tune: the text is off")

    def invert(self, problem: Problem) -> Code:
        quiet, text = replace(problem, progress=None), problem.text
        if problem.guidance == 0:  # the null text alone: one evaluation a step, not two
            quiet, text = replace(quiet, guidance=1.0), problem.null
        tuning = Tuning(
            "text",
            self.guidance,
            self.iterations,
            self.solver,
            lambda k: self.lr * max(1 - k / 100, 0.01),
            lambda k: self.tolerance * (1 + 2 * k),
        )
        tuning.start(problem)  # refuses a model without text before the network runs
        path = climb(quiet, 0, explicit_ascent(quiet, self.told, text))
        with recomputing_tuning(problem, tuning, self.recompute):
            found = tune_steps(problem, tuning, path)
        info = tuned_info(problem, self.guidance)
        return Code(problem.grid, path, text=found, blend=self.blend, info=info)
