"""Textual inversion of the whole prompt, with and without a pivot."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from annotated_types import Interval

from noisespace.core.code import Code
from noisespace.core.grid import Grid
from noisespace.errors import InputError
from noisespace.inversion.ascent import Told, climb, explicit_ascent
from noisespace.inversion.null_text import tuned_info
from noisespace.inversion.problem import Defaults, Problem, Rate, Weight
from noisespace.inversion.tuning.embedding import (
    Tuning,
    recomputing_tuning,
    tune_globally,
    tune_noisings,
)

Iterations = Annotated[
    int, Interval(ge=0, le=100_000), "a whole number >= 0 (it needs a number of iterations)"
]


@dataclass(frozen=True)
class TextualInversion:
    """Textual inversion (arXiv 2208.01618) of the whole prompt: one embedding for all steps.

    The two ablations of arXiv 2211.09794.

    ``pivot``: tuned so that each guided step ends on the DDIM path, instead of on fresh noisings
    of the image by the loss of the training; ``guidance``: the w of those steps; ``iterations``:
    updates a step; ``lr``: Adam's rate; ``told``: as in ``DDIM``; ``recompute`` as in ``NullText``.
    """

    pivot: bool = False
    guidance: Weight = 7.5
    iterations: Iterations = 10
    lr: Rate = 0.01
    told: Told = "lower"
    recompute: bool | None = None

    defaults: ClassVar[Defaults] = Defaults(steps=50, invert=1.0, edit=7.5, null="reads")

    def check(self, grid: Grid) -> None:
        if self.pivot and self.guidance == 0:
            raise InputError(
                "textual-inversion with a pivot needs a guidance that is not 0 (the text is off)"
            )

    def invert(self, problem: Problem) -> Code:
        w = self.guidance if self.pivot else 1.0
        tuning = Tuning("text", w, self.iterations, "adam", lambda k: self.lr, lambda k: 0.0)
        tuning.start(problem)
        quiet = replace(problem, progress=None)
        path = climb(quiet, 0, explicit_ascent(quiet, self.told))
        with recomputing_tuning(problem, tuning, self.recompute):
            if self.pivot:
                found = tune_globally(problem, tuning, path)
            else:
                found = tune_noisings(problem, tuning, share=True)
        info = tuned_info(problem, self.guidance)
        return Code(problem.grid, path, text=found, info=info)
