"""O-BELM: a two-step method of second order, undone algebraically."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from noisespace.core.grid import Grid
from noisespace.core.rows import Rows
from noisespace.core.steps.step import Ask, Correct, Noise, Pair, Predict, State, first_state

if TYPE_CHECKING:
    from noisespace.core.code import Code


@dataclass(frozen=True)
class Belm:
    """O-BELM (arXiv 2410.07273): a two-step method of second order, one evaluation a step.

    It remembers where it was one level up (at first the code's "twin"). In s = sigma / alpha and
    x / alpha, the only two-step combination whose error is of third order a step:
    x_{i+1} = r^2 x_{i-1} + (1 - r^2) x_i - h (1 + r) eps(x_i), h = s_i - s_{i+1}, r = h / h_before.
    """

    keeps: ClassVar[tuple[str, ...]] = ("twin",)

    @property
    def eta(self) -> float:
        return 0.0

    @property
    def correct(self) -> Correct:
        return "none"

    def start(self, code: Code, rows: Rows) -> State:
        return replace(first_state(code, rows), memory=(rows.spread(code.kept["twin"][0]),))

    def step(self, k: int, state: State, predict: Predict, noise: Noise | None) -> State:
        grid, i = state.code.grid, state.code.first + k
        x, before = state.x, state.memory[0]
        prediction = predict(x, i)
        square, weight = weights(grid, i, x)
        scaled = [s / grid.alpha[j].to(s) for s, j in ((before, i - 1), (x, i))]
        after = square * scaled[0] + (1 - square) * scaled[1] - weight * prediction.eps
        x0, x = prediction.x0, after * grid.alpha[i + 1].to(x)
        return replace(state, x=x, x0=x0, memory=(state.x,))

    def undo(self, ask: Ask, grid: Grid, i: int, pair: Pair) -> Pair:
        """The exact inverse of the step from level i, at (x_{i+1}, x_i): (x_i, x_{i-1})."""
        after, x = pair
        square, weight = weights(grid, i, x)
        scaled = [s / grid.alpha[j].to(s) for s, j in ((after, i + 1), (x, i))]
        before = scaled[0] - (1 - square) * scaled[1] + weight * ask(x, i).eps
        return x, before / square * grid.alpha[i - 1].to(x)


def weights(grid: Grid, i: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """r^2 and h (1 + r) of the step from level i."""
    s = grid.sigma[i - 1 : i + 2] / grid.alpha[i - 1 : i + 2]
    h, r = s[1] - s[2], (s[1] - s[2]) / (s[0] - s[1])
    return (r**2).to(like), (h * (1 + r)).to(like)
