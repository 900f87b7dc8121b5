"""How a state goes one step down: plainly, or coupled with a second state (exact inverses).

A coupled state is a tuple of states; the first is the picture's. Every stepper here is
deterministic (eta = 0), and is undone exactly by the ``climb`` beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor

from noisespace.prediction import Prediction
from noisespace.schedule import Grid
from noisespace.step import renoise

State = tuple[Tensor, Tensor]
Predict = Callable[[Tensor, int], Prediction]  # (x, level index) -> guided prediction


class Stepper(Protocol):
    """A coupled step and its inverse, between levels i (noisier) and i + 1 of a grid.

    ``current``: how many of the states, from the first on, are at the step's own level, so that
    what an edit does to a state is done to them.
    """

    current: ClassVar[int]

    def down(self, predict: Predict, grid: Grid, i: int, state: State) -> tuple[State, Prediction]:
        """From level i to level i + 1; also the prediction that shows where it goes."""
        ...

    def up(self, predict: Predict, grid: Grid, i: int, state: State) -> State:
        """The exact inverse, from level i + 1 to level i."""
        ...

    def begin(self, predict: Predict, grid: Grid, x0: Tensor) -> State:
        """The state that the first ``up``, that of the last step, takes."""
        ...


@dataclass(frozen=True)
class Edict:
    """EDICT (arXiv 2211.12446, eq. 9-15): two states, each stepped by the other's noise, mixed.

    ``p`` is the weight of the mixing layer; ``alternate`` exchanges their roles every other step.
    """

    p: float
    alternate: bool = False

    current: ClassVar[int] = 2  # both states are at the same level

    def begin(self, predict: Predict, grid: Grid, x0: Tensor) -> State:
        return x0, x0.clone()

    def down(self, predict: Predict, grid: Grid, i: int, state: State) -> tuple[State, Prediction]:
        x, y = self._turned(state, i)
        prediction = predict(y, i)
        x = moved(x, prediction.eps, grid, i, i + 1)
        y = moved(y, predict(x, i).eps, grid, i, i + 1)
        x = self.p * x + (1 - self.p) * y
        y = self.p * y + (1 - self.p) * x
        return self._turned((x, y), i), prediction

    def up(self, predict: Predict, grid: Grid, i: int, state: State) -> State:
        x, y = self._turned(state, i)
        y = (y - (1 - self.p) * x) / self.p
        x = (x - (1 - self.p) * y) / self.p
        y = moved(y, predict(x, i).eps, grid, i + 1, i)
        x = moved(x, predict(y, i).eps, grid, i + 1, i)
        return self._turned((x, y), i)

    def _turned(self, state: State, i: int) -> State:
        return (state[1], state[0]) if self.alternate and i % 2 else state


@dataclass(frozen=True)
class Belm:
    """O-BELM (arXiv 2410.07273): a two-step method of second order, one evaluation a step.

    The state is (x_i, x_{i-1}): where it is, and where it was one level up. In s = sigma / alpha
    and x / alpha, the only two-step combination whose error is of third order a step:
    x_{i+1} = r^2 x_{i-1} + (1 - r^2) x_i - h (1 + r) eps(x_i), h = s_i - s_{i+1}, r = h / h_before.
    """

    current: ClassVar[int] = 1  # the second state is where it was a level before

    def begin(self, predict: Predict, grid: Grid, x0: Tensor) -> State:
        # one plain step up gives the second state
        return x0, renoise(predict(x0, len(grid)), grid.level(len(grid) - 1))

    def down(self, predict: Predict, grid: Grid, i: int, state: State) -> tuple[State, Prediction]:
        x, before = state
        prediction = predict(x, i)
        square, noise = self._weights(grid, i, x)
        scaled = [s / grid.alpha[j].to(s) for s, j in ((before, i - 1), (x, i))]
        after = square * scaled[0] + (1 - square) * scaled[1] - noise * prediction.eps
        return (after * grid.alpha[i + 1].to(x), x), prediction

    def up(self, predict: Predict, grid: Grid, i: int, state: State) -> State:
        after, x = state
        square, noise = self._weights(grid, i, x)
        scaled = [s / grid.alpha[j].to(s) for s, j in ((after, i + 1), (x, i))]
        before = scaled[0] - (1 - square) * scaled[1] + noise * predict(x, i).eps
        return x, before / square * grid.alpha[i - 1].to(x)

    def _weights(self, grid: Grid, i: int, like: Tensor) -> tuple[Tensor, Tensor]:
        s = grid.sigma[i - 1 : i + 2] / grid.alpha[i - 1 : i + 2]
        h, r = s[1] - s[2], (s[1] - s[2]) / (s[0] - s[1])
        return (r**2).to(like), (h * (1 + r)).to(like)


def moved(x: Tensor, eps: Tensor, grid: Grid, at: int, to: int) -> Tensor:
    """A DDIM step, up or down, by some noise: x at level ``at`` to level ``to``."""
    return renoise(Prediction.from_eps(eps, x, grid.level(at)), grid.level(to))
