"""Negative-prompt inversion: the null text becomes the source prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from noisespace.core.code import Code
from noisespace.core.grid import Grid
from noisespace.core.guidance import Guidance
from noisespace.inversion.ascent import Told, climb, explicit_ascent
from noisespace.inversion.problem import Defaults, Problem


@dataclass(frozen=True)
class NegativePrompt:
    """Negative-prompt inversion (arXiv 2305.16807): DDIM ascent, then null := source prompt.

    Under the source prompt the two predictions agree, so that any guidance reconstructs as w = 1.
    """

    told: Told = "lower"

    defaults: ClassVar[Defaults] = Defaults(steps=50, invert=1.0, edit=7.5, null="makes")

    def check(self, grid: Grid) -> None:
        """Every setting fits every grid."""

    def invert(self, problem: Problem) -> Code:
        return negative_prompt_code(problem, self.told, Guidance())


def negative_prompt_code(problem: Problem, told: Told, rule: Guidance) -> Code:
    """The DDIM ascent with the source prompt as null text."""
    path = climb(problem, 0, explicit_ascent(problem, told))
    info = problem.info(negative=problem.text.prompts)
    return Code(problem.grid, path, rule=rule, info=info)
