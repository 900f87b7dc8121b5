"""Negative-prompt inversion and proximal guidance: the null text becomes the source prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from noisespace.code import Code
from noisespace.errors import InputError
from noisespace.guidance import Guidance
from noisespace.inversion.base import Defaults, Problem
from noisespace.inversion.ddim import Told, ascent, check_told, climb
from noisespace.schedule import Grid


@dataclass(frozen=True)
class NegativePrompt:
    """Negative-prompt inversion (arXiv 2305.16807): DDIM ascent, then null := source prompt.

    Under the source prompt the two predictions agree, so that any guidance reconstructs as w = 1.
    """

    told: Told = "lower"

    defaults: ClassVar[Defaults] = Defaults(steps=50, invert=1.0, edit=7.5)

    def check(self, grid: Grid) -> None:
        check_told(self.told)

    def invert(self, problem: Problem) -> Code:
        return negative(problem, self.told, Guidance())


@dataclass(frozen=True)
class ProxNPI:
    """Negative-prompt inversion with proximal guidance (arXiv 2306.05414).

    Of (text - null) only what exceeds its ``quantile`` guides: ``mode`` "hard" (L0) or "soft" (L1).
    Below timestep ``below`` the unedited latents are pulled to the source's by ``pull``.
    """

    quantile: float = 0.7
    mode: Literal["hard", "soft"] = "hard"
    pull: float = 0.1
    below: int = 400
    told: Told = "lower"

    defaults: ClassVar[Defaults] = Defaults(steps=50, invert=1.0, edit=7.5)

    def check(self, grid: Grid) -> None:
        check_told(self.told)
        if not 0 <= self.quantile <= 1:
            raise InputError(f"quantile must be in [0, 1], got {self.quantile!r}")
        if self.mode not in ("hard", "soft"):
            raise InputError(f'mode must be "hard" or "soft", got {self.mode!r}')
        if not 0 <= self.pull <= 1:
            raise InputError(f"pull must be in [0, 1], got {self.pull!r}")

    def invert(self, problem: Problem) -> Code:
        rule = Guidance("proximal", self.quantile, self.mode, self.pull, self.below)
        return negative(problem, self.told, rule)


def negative(problem: Problem, told: Told, rule: Guidance) -> Code:
    """The DDIM ascent with the source prompt as null text."""
    info = problem.info().model_copy(update={"negative": problem.text.prompts})
    return Code(problem.grid, climb(problem, 0, ascent(problem, told)), rule=rule, info=info)
