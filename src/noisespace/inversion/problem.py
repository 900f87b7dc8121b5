"""What every inversion is given and what it must offer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from annotated_types import Interval
from torch import Generator, Tensor

from noisespace.core.backbone import Denoiser
from noisespace.core.code import Code, Info
from noisespace.core.condition import Condition
from noisespace.core.grid import Grid
from noisespace.system.fields import Slider

Progress = Callable[[int, int], None]  # steps done, steps in all

# What fields of several methods take
Skip = Annotated[int | float, Slider(0, 0.95, 0.01)]
NoisyEta = Annotated[
    float,
    Interval(gt=0, le=1),
    "above 0 and at most 1 (without noise there are no noise maps to extract: use ddim)",
]
Strength = Annotated[float, Interval(gt=0, le=1), "a share of the steps in (0, 1]"]
Weight = Annotated[float, Interval(gt=-1000, lt=1000), Slider(1, 20, 0.5)]
Rate = Annotated[float, Interval(gt=0, le=10), Slider(0.0001, 0.1, 0.0001)]
Tolerance = Annotated[float, Interval(ge=0, le=1e6), Slider(0, 0.0001, 0.000001)]
Rank = Annotated[
    int, Interval(ge=1, le=100_000), "a whole number from 1 on (rank 0 leaves nothing to fit)"
]


@dataclass(frozen=True)
class Defaults:
    """The published settings of a method: steps, w inverting, w editing.

    ``null``: whether it "reads" the null text, so that a model must have one, or "makes" one of its
    own, whose place no other can take.
    """

    steps: int
    invert: float
    edit: float
    null: Literal["", "reads", "makes"] = ""


class Checkpointing(Protocol):
    """Where a long optimisation leaves what it needs to go on after an interruption."""

    def load(self) -> dict[str, Tensor] | None: ...

    def save(self, state: dict[str, Tensor]) -> None: ...

    def done(self) -> None: ...


class NoCheckpoint:
    """Keeps nothing."""

    def load(self) -> None:
        return None

    def save(self, state: dict[str, Tensor]) -> None:
        pass

    def done(self) -> None:
        pass


@dataclass(frozen=True)
class Problem:
    """A batch of images to invert with a model.

    ``x0`` (b, c, h, w); ``text``, ``null``: one row an image; ``guidance``: the w of the inversion;
    ``generators``: one an image, on the CPU, so that a seed means the same on every device and
    results do not depend on the batch; ``checkpoint``: where an optimisation leaves its state.
    """

    model: Any
    grid: Grid
    x0: Tensor
    text: Condition
    null: Condition
    guidance: float
    generators: Sequence[Generator]
    progress: Progress | None = None
    checkpoint: Checkpointing = field(default_factory=NoCheckpoint)

    @property
    def denoise(self) -> Denoiser:
        """The model's network, without guidance."""
        return self.model.denoise

    @property
    def network(self) -> Any:
        """The module behind it, None where the model has none (an analytic one)."""
        return self.model.network

    def tell(self, done: int, total: int, note: str = "") -> None:
        """Progress, with a note (a loss) for whoever shows one: ``progress.note(text)``."""
        if note and hasattr(self.progress, "note"):
            self.progress.note(note)  # type: ignore[union-attr]
        if self.progress:
            self.progress(done, total)

    def noise(self, count: int) -> Tensor:
        """Standard normal noise (count, b, c, h, w), each image's from its own generator."""
        shape = (count, *self.x0.shape[1:])
        drawn = [torch.randn(shape, generator=g, dtype=self.x0.dtype) for g in self.generators]
        return torch.stack(drawn, dim=1).to(self.x0.device)

    def noise_to_levels(self, first: int, noise: Tensor, shift: int = 0) -> Tensor:
        """The images noised to the levels first..n-1, and themselves: (levels + 1, b, c, h, w).

        ``noise`` (levels or 1, b, c, h, w); ``shift``: steps by which each is less noisy.
        """
        index = torch.arange(first, len(self.grid)) + shift
        level = self.grid.level(index.clamp(max=len(self.grid)))
        states = noise.expand(len(level.alpha), *noise.shape[1:])
        alpha, sigma = level.amplitudes(states)
        return torch.cat([alpha * self.x0 + sigma * states, self.x0[None]])

    def info(self, **more: Any) -> Info:
        """What is known of the code already, and ``more``."""
        return Info(guidance=self.guidance).model_copy(update=more)


@runtime_checkable
class Inversion(Protocol):
    """A frozen dataclass: its fields are the hyper-parameters, its repr the record."""

    defaults: ClassVar[Defaults]

    def check(self, grid: Grid) -> None:
        """Raises InputError for fields that do not fit the grid or each other.

        Each field's type and range are checked before (``system.fields.check_fields``).
        """
        ...

    def invert(self, problem: Problem) -> Code:
        """The code of a batch of images."""
        ...
