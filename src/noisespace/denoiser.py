"""The boundary between the loop and a network: ``(x, level, text, controls) -> Prediction``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from noisespace.prediction import Prediction
from noisespace.schedule import Level


@dataclass(frozen=True)
class Text:
    """Embedded prompts: ``embedding`` (rows, l, d) and what they were made from.

    ``tokens``: the token strings of each row, special ones included; ``cut``: what the tokenizer
    had no room for, "" where nothing was cut.
    """

    embedding: Tensor
    prompts: tuple[str, ...]
    tokens: tuple[tuple[str, ...], ...] = ()
    cut: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.prompts)

    def rows(self, chosen: Sequence[int] | Tensor) -> Text:
        """Some rows, repeated or reordered."""
        index = [int(i) for i in chosen]

        def pick(values: tuple) -> tuple:
            return tuple(values[i] for i in index) if values else ()

        return Text(self.embedding[index], pick(self.prompts), pick(self.tokens), pick(self.cut))

    def cat(self, other: Text) -> Text:
        """Two batches of prompts, one after the other."""
        return Text(
            torch.cat([self.embedding, other.embedding]),
            self.prompts + other.prompts,
            self.tokens + other.tokens,
            self.cut + other.cut,
        )

    def embedded(self, embedding: Tensor) -> Text:
        """The same prompts under another embedding (optimised ones, one a step)."""
        return Text(embedding, self.prompts, self.tokens, self.cut)


@dataclass(frozen=True)
class Controls:
    """What an editor does to one replay; told the step, never stored on the model.

    ``before(index, x)`` and ``after(index, x)`` map the states (images, rows, c, h, w), row 0 the
    source, before the network sees them and after a step. ``source`` asks for the source row.
    """

    before: Callable[[int, Tensor], Tensor] | None = None
    after: Callable[[int, Tensor], Tensor] | None = None
    source: bool = True


class Denoiser(Protocol):
    """A network with everything that is its own business (parameterisation, dtype) behind it."""

    def __call__(
        self, x: Tensor, level: Level, text: Text, controls: Controls | None = None
    ) -> Prediction: ...
