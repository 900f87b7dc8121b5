"""The rows of a batch, and the fresh noise that some of them need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from noisespace.core.condition import Condition


@dataclass(frozen=True)
class Rows:
    """``images`` images, each with the same number of rows, image-major, and what each is under.

    ``condition`` and ``null`` (images * rows), ``guidance`` (images * rows,) one w a row. With
    ``source``, row 0 of every image is the source under the code's own prompt and guidance.
    """

    condition: Condition
    null: Condition
    guidance: Tensor
    images: int
    source: bool

    @classmethod
    def of(
        cls,
        conditions: tuple[Condition, Condition | None],
        null: Condition,
        guidance: tuple[float, float],
        source: bool,
    ) -> Rows:
        """Of every image its source (if wanted) and its targets, under their two guidances.

        ``conditions``: of the sources (images) and of the targets (images * any number);
        ``null`` (images).
        """
        own, targets = conditions
        count, each = len(own), len(targets) // len(own) if targets else 0
        order, weights = [], []
        for i in range(count):
            order += [i] * source + [count + i * each + j for j in range(each)]
            weights += [guidance[0]] * source + [guidance[1]] * each
        both = own.cat(targets) if targets else own
        nulls = null.rows([i for i in range(count) for _ in range(each + source)])
        return cls(both.rows(order), nulls, torch.tensor(weights).double(), count, source)

    def with_negative(self, negative: Condition) -> Rows:
        """The same rows, their targets under other null texts: ``negative``, one an image."""
        count, each = len(self.null), self.each
        rows = [i if self.source and i % each == 0 else count + i // each for i in range(count)]
        return replace(self, null=self.null.cat(negative).rows(rows))

    @property
    def each(self) -> int:
        """The rows of an image."""
        return len(self.condition) // self.images

    def fold(self, x: Tensor) -> Tensor:
        """(images * rows, ...) as (images, rows, ...)."""
        return x.unflatten(0, (self.images, self.each))

    def spread(self, x: Tensor) -> Tensor:
        """What each image has (images, ...) in all of its rows."""
        return x.repeat_interleave(self.each, 0)

    def all_corrected(self, correct: str) -> bool:
        """Whether no row is left without a correction, where those rows get one."""
        return correct == "all" or (correct == "source" and self.source and self.each == 1)


def fresh_noise(like: Tensor, generators: Sequence[Generator]) -> Callable[[int], Tensor]:
    """Standard normal noise of a step, in each row from its own generator.

    ``like`` (..., c, h, w): shape, dtype and device of a state.
    """

    def noise(step: int) -> Tensor:
        shape = like.shape[2:]
        rows = [torch.randn(shape, generator=g, dtype=like.dtype) for g in generators]
        return torch.stack(rows).to(like.device)

    return noise
