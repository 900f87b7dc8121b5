"""Textual inversion of the whole prompt, with and without a pivot."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from noisespace.core.code import Code
from noisespace.core.grid import Grid
from noisespace.errors import InputError
from noisespace.inversion.ascent import Told, check_told, climb, explicit_ascent
from noisespace.inversion.null_text import check_tuned_guidance, tuned_info
from noisespace.inversion.problem import Defaults, Problem
from noisespace.inversion.tuning.embedding import (
    Tuning,
    check_tuning,
    sparing,
    tune_globally,
    tune_noisings,
)
from noisespace.inversion.tuning.recompute import check_recompute


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
        path = climb(quiet, 0, explicit_ascent(quiet, self.told))
        with sparing(problem, tuning, self.recompute):
            if self.pivot:
                found = tune_globally(problem, tuning, path)
            else:
                found = tune_noisings(problem, tuning, share=True)
        info = tuned_info(problem, self.guidance)
        return Code(problem.grid, path, text=found, info=info)
