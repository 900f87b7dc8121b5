"""Proximal guidance: of what the text changes only what is large enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from noisespace.core.code import Code
from noisespace.core.grid import Grid
from noisespace.core.guidance import Guidance
from noisespace.errors import InputError
from noisespace.inversion.ascent import Told, check_told
from noisespace.inversion.negative_prompt import negative
from noisespace.inversion.problem import Defaults, Problem


@dataclass(frozen=True)
class ProxNPI:
    """Negative-prompt inversion with proximal guidance (arXiv 2306.05414).

    Of (text - null) only what exceeds its ``quantile`` guides. ``mode``: "l0" is what the authors'
    code does by that name, shrinking by a quantile over source and target together; "hard" and
    "soft" are the proximal operators of the L0 and L1 norms that the paper writes, by a quantile
    over the target alone. Below timestep ``below`` the unedited latents are pulled to the source's
    by ``pull``.
    """

    quantile: float = 0.7
    mode: Literal["l0", "hard", "soft"] = "l0"
    pull: float = 0.1
    below: int = 400
    told: Told = "lower"

    defaults: ClassVar[Defaults] = Defaults(steps=50, invert=1.0, edit=7.5)

    def check(self, grid: Grid) -> None:
        check_told(self.told)
        if not 0 <= self.quantile <= 1:
            raise InputError(f"quantile must be in [0, 1], got {self.quantile!r}")
        if self.mode not in ("l0", "hard", "soft"):
            raise InputError(f'mode must be "l0", "hard" or "soft", got {self.mode!r}')
        if not 0 <= self.pull <= 1:
            raise InputError(f"pull must be in [0, 1], got {self.pull!r}")

    def invert(self, problem: Problem) -> Code:
        rule = Guidance("proximal", self.quantile, self.mode, self.pull, self.below)
        return negative(problem, self.told, rule)
