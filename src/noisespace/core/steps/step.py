"""What a step is given, and what it must offer: ``start``, then ``step`` from level to level."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from torch import Tensor

from noisespace.core.grid import Grid, Level
from noisespace.core.prediction import Prediction
from noisespace.core.rows import Rows

if TYPE_CHECKING:
    from noisespace.core.code import Code

Correct = Literal["none", "source", "all"]
Noise = Callable[[int], Tensor]  # step -> (images * rows, c, h, w), standard normal
Pair = tuple[Tensor, Tensor]
Ask = Callable[[Tensor, int], Prediction]  # (x, level index) -> guided prediction


class Predict(Protocol):
    """The network under everything that one step of a replay puts around it."""

    def __call__(self, x: Tensor, at: int | float | Level, under: Rows | None = None) -> Prediction:
        """The guided prediction at states x (rows, c, h, w).

        ``at``: a level, or its index in the code's grid, a fraction for one between two of them;
        ``under``: other rows than the replay's own, where x has others, or another condition.
        """
        ...


@dataclass(frozen=True)
class State:
    """What a replay carries from step to step.

    ``x`` (images * rows, c, h, w): the pictures' states; ``x0``: the clean pictures predicted on
    the way there; ``coupled``: further states at the same level, to which an edit does what it does
    to x; ``memory``: what the step remembers, which edits leave alone.
    """

    code: Code
    rows: Rows
    x: Tensor
    x0: Tensor
    coupled: tuple[Tensor, ...] = ()
    memory: tuple[Tensor, ...] = ()

    def map_states(self, change: Callable[[Tensor], Tensor]) -> State:
        """With what an edit does to states (images, rows, c, h, w) done to all of its own."""
        x, *coupled = (change(self.rows.fold(one)).flatten(0, 1) for one in (self.x, *self.coupled))
        return replace(self, x=x, coupled=tuple(coupled))


class Step(Protocol):
    """How states go from one level of a grid to the next: a frozen dataclass of numbers.

    ``eta``: how much fresh noise a step adds, 0 where it is deterministic; ``correct``: which rows
    get the code's residual; ``keeps``: the names in ``code.kept`` of what else it needs of a
    source.
    """

    keeps: ClassVar[tuple[str, ...]]

    @property
    def eta(self) -> float: ...

    @property
    def correct(self) -> Correct: ...

    def start(self, code: Code, rows: Rows) -> State:
        """The state at the code's first level."""
        ...

    def step(self, k: int, state: State, predict: Predict, noise: Noise | None) -> State:
        """Executed step k, from level ``code.first + k`` to the next one.

        ``noise``: fresh noise of the step, drawn when asked for.
        """
        ...


class Undoable(Step, Protocol):
    """A step of two states that can be undone algebraically."""

    def undo(self, ask: Ask, grid: Grid, i: int, pair: Pair) -> Pair:
        """The exact inverse of the step from level i."""
        ...


def first_state(code: Code, rows: Rows) -> State:
    """The source's first state in every row."""
    x = rows.spread(code.path[0])
    return State(code, rows, x, x)
