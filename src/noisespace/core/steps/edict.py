"""EDICT: two states, each stepped by the other's noise, so that every step can be undone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Interval
from torch import Tensor

from noisespace.core.grid import Grid
from noisespace.core.prediction import Prediction
from noisespace.core.rows import Rows
from noisespace.core.steps.step import Ask, Correct, Noise, Pair, Predict, State, first_state
from noisespace.core.transition import renoise

if TYPE_CHECKING:
    from noisespace.core.code import Code


@dataclass(frozen=True)
class Edict:
    """EDICT (arXiv 2211.12446, eq. 9-15): two states, each stepped by the other's noise, mixed.

    ``p`` is the weight of the mixing layer; ``alternate``: what the states exchange every other
    step, the "order" in which they are stepped, as in the authors' code, their "roles" in the
    mixing too (codes of version 0.1), or nothing. The second state's start is the code's "twin".
    """

    p: Annotated[float, Interval(gt=0, le=1)]
    alternate: Literal["nothing", "order", "roles"] = "nothing"

    keeps: ClassVar[tuple[str, ...]] = ("twin",)

    @property
    def eta(self) -> float:
        return 0.0

    @property
    def correct(self) -> Correct:
        return "none"

    def start(self, code: Code, rows: Rows) -> State:
        return replace(first_state(code, rows), coupled=(rows.spread(code.kept["twin"][0]),))

    def step(self, k: int, state: State, predict: Predict, noise: Noise | None) -> State:
        grid, i = state.code.grid, state.code.first + k
        first, second = self._exchange((state.x, state.coupled[0]), i)
        prediction = predict(second, i)
        first = ddim_step(first, prediction.eps, grid, i, i + 1)
        second = ddim_step(second, predict(first, i).eps, grid, i, i + 1)
        x, y = self._exchange_mixing(self._exchange((first, second), i), i)
        x = self.p * x + (1 - self.p) * y
        y = self.p * y + (1 - self.p) * x
        x, y = self._exchange_mixing((x, y), i)
        return replace(state, x=x, x0=prediction.x0, coupled=(y,))

    def undo(self, ask: Ask, grid: Grid, i: int, pair: Pair) -> Pair:
        """The exact inverse of the step from level i, at level i + 1."""
        x, y = self._exchange_mixing(pair, i)
        y = (y - (1 - self.p) * x) / self.p
        x = (x - (1 - self.p) * y) / self.p
        first, second = self._exchange(self._exchange_mixing((x, y), i), i)
        second = ddim_step(second, ask(first, i).eps, grid, i + 1, i)
        first = ddim_step(first, ask(second, i).eps, grid, i + 1, i)
        return self._exchange((first, second), i)

    def _exchange(self, pair: Pair, i: int) -> Pair:
        return (pair[1], pair[0]) if self.alternate != "nothing" and i % 2 else pair

    def _exchange_mixing(self, pair: Pair, i: int) -> Pair:
        return self._exchange(pair, i) if self.alternate == "roles" else pair


def ddim_step(x: Tensor, eps: Tensor, grid: Grid, at: int, to: int) -> Tensor:
    """A DDIM step, up or down, by some noise: x at level ``at`` to level ``to``."""
    return renoise(Prediction.from_eps(eps, x, grid.level(at)), grid.level(to))
