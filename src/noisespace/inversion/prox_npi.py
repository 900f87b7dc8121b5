"""Proximal guidance: of what the text changes only what is large enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Interval

from noisespace.core.code import Code
from noisespace.core.grid import Grid
from noisespace.core.guidance import Guidance
from noisespace.inversion.ascent import Told
from noisespace.inversion.negative_prompt import negative_prompt_code
from noisespace.inversion.problem import Defaults, Problem
from noisespace.system.fields import Share, Slider


@dataclass(frozen=True)
class ProxNPI:
    """Negative-prompt inversion with proximal guidance (arXiv 2306.05414).

    Of (text - null) only what exceeds its ``quantile`` guides. ``mode``: "hard" as the authors'
    code has it, which shrinks by a quantile over source and target together; "l0" and "soft" are
    the proximal operators of the L0 and L1 norms that the paper writes, by a quantile over the
    target alone. Below timestep ``below`` the unedited latents are pulled to the source's by
    ``pull``; ``told``: as in ``DDIM``.
    """

    quantile: Share = 0.7
    mode: Literal["hard", "l0", "soft"] = "hard"
    pull: Share = 0.1
    below: Annotated[int, Interval(ge=0), Slider(0, 1000, 10)] = 400
    told: Told = "lower"

    defaults: ClassVar[Defaults] = Defaults(steps=50, invert=1.0, edit=7.5, null="makes")

    def check(self, grid: Grid) -> None:
        """Every setting fits every grid."""

    def invert(self, problem: Problem) -> Code:
        rule = Guidance("proximal", self.quantile, self.mode, self.pull, self.below)
        return negative_prompt_code(problem, self.told, rule)
