"""Prompt tuning and textual inversion: the text embedding is tuned instead of the null text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from noisespace.code import Code
from noisespace.errors import InputError
from noisespace.inversion.base import Defaults, Problem, check_number
from noisespace.inversion.ddim import Told, ascent, check_told, climb
from noisespace.inversion.null_text import check_tuned_guidance
from noisespace.inversion.recompute import check_recompute
from noisespace.inversion.solvers import Solver
from noisespace.inversion.tuning import (
    Tuning,
    check_tuning,
    sparing,
    tune_globally,
    tune_noisings,
    tune_steps,
)
from noisespace.schedule import Grid


@dataclass(frozen=True)
class PromptTuning:
    """Prompt tuning inversion (arXiv 2305.04441): one optimised text embedding a step.

    The pivot is the unconditional DDIM ascent (w = 0), so that no prompt is needed. An edit goes
    along ``blend`` of the way from the optimised embedding to the target's. ``guidance``, ``lr``,
    ``tolerance``, ``solver`` and ``recompute`` as in ``NullText``.
    """

    guidance: float = 7.5
    iterations: int | None = None
    blend: float = 0.9
    lr: float = 0.01
    tolerance: float = 1e-5
    solver: Solver = "gauss-newton"
    told: Told = "lower"
    recompute: bool | None = None

    defaults: ClassVar[Defaults] = Defaults(steps=50, invert=0.0, edit=7.5)
    resumes: ClassVar[bool] = True

    def check(self, grid: Grid) -> None:
        check_told(self.told)
        check_tuning(self.iterations, self.lr, self.tolerance, self.solver)
        check_tuned_guidance(self.guidance, "prompt-tuning")
        check_recompute(self.recompute)
        if self.guidance == 0:
            raise InputError("guidance 0 leaves prompt-tuning nothing to tune: the text is off")
        check_number("blend", self.blend, 0, 1)

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
        path = climb(quiet, 0, ascent(quiet, self.told, text))
        with sparing(problem, tuning, self.recompute):
            found = tune_steps(problem, tuning, path)
        info = problem.info().model_copy(
            update={
                "guidance": self.guidance,
                "edit_guidance": self.guidance,
                "pivot_guidance": problem.guidance,
            }
        )
        return Code(problem.grid, path, text=found, blend=self.blend, info=info)


@dataclass(frozen=True)
class TextualInversion:
    """Textual inversion (arXiv 2208.01618) of the whole prompt: one embedding for all steps.

    Without ``pivot`` it is tuned on fresh noisings of the image, by the loss of the training;
    with it, so that each step under ``guidance`` ends on the DDIM path. The two ablations of
    arXiv 2211.09794; ``iterations`` a step, ``recompute`` as in ``NullText``.
    """

    pivot: bool = False
    guidance: float = 7.5
    iterations: int = 10
    lr: float = 0.01
    told: Told = "lower"
    recompute: bool | None = None

    defaults: ClassVar[Defaults] = Defaults(steps=50, invert=1.0, edit=7.5)

    def check(self, grid: Grid) -> None:
        check_told(self.told)
        check_tuning(self.iterations, self.lr, 0.0, "adam")
        check_tuned_guidance(self.guidance, "textual-inversion")
        check_recompute(self.recompute)
        if self.iterations is None or (self.pivot and self.guidance == 0):
            raise InputError(
                "textual-inversion needs a number of iterations, and with a pivot a guidance that "
                f"is not 0 (the text is off there); got {self.iterations!r} and {self.guidance!r}"
            )

    def invert(self, problem: Problem) -> Code:
        w = self.guidance if self.pivot else 1.0
        tuning = Tuning("text", w, self.iterations, "adam", lambda k: self.lr, lambda k: 0.0)
        tuning.start(problem)
        quiet = replace(problem, progress=None)
        path = climb(quiet, 0, ascent(quiet, self.told))
        with sparing(problem, tuning, self.recompute):
            if self.pivot:
                found = tune_globally(problem, tuning, path)
            else:
                found = tune_noisings(problem, tuning, share=True)
        info = problem.info().model_copy(
            update={
                "guidance": self.guidance,
                "edit_guidance": self.guidance,
                "pivot_guidance": problem.guidance,
            }
        )
        return Code(problem.grid, path, text=found, info=info)
