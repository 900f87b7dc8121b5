"""Full renoising: a clean picture at each step, noised anew to the next level."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from noisespace.core.grid import broadcast
from noisespace.core.rows import Rows
from noisespace.core.steps.step import Correct, Noise, Predict, State, first_state

if TYPE_CHECKING:
    from noisespace.core.code import Code


@dataclass(frozen=True)
class Consistency:
    """x = alpha f + sigma z with f = c_out x0 + c_skip x (arXiv 2310.04378, Alg. 3; 2303.01469).

    How models that were distilled to a few steps are sampled. f is x itself at the clean end; at
    every level that such a model is told it is its x0, to 7e-6 of x.
    """

    keeps: ClassVar[tuple[str, ...]] = ()

    @property
    def eta(self) -> float:
        return 1.0

    @property
    def correct(self) -> Correct:
        return "none"

    def start(self, code: Code, rows: Rows) -> State:
        return first_state(code, rows)

    def step(self, k: int, state: State, predict: Predict, noise: Noise | None) -> State:
        grid, i = state.code.grid, state.code.first + k
        at, to = grid.level(i), grid.level(i + 1)
        x0 = predict(state.x, i).x0
        time = 10 * at.t  # in units of the data's deviation, .5
        skip, out = 0.25 / (time**2 + 0.25), time / (time**2 + 0.25).sqrt()
        clean = broadcast(out, x0) * x0 + broadcast(skip, x0) * state.x
        x = broadcast(to.alpha, x0) * clean
        if noise is not None and to.sigma > 0:
            x = x + broadcast(to.sigma, x0) * noise(k)
        return replace(state, x=x, x0=clean)
