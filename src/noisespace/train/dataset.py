"""What the trainer needs of a data set, and the data set of scenes."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from noisespace.train.captions import patterns
from noisespace.train.draw import near_miss, random_scene
from noisespace.train.palette import vocabulary
from noisespace.train.scenes import Scene, render_batch


class Dataset(Protocol):
    """Captioned pictures; ``Item`` is whatever the data set draws."""

    @property
    def name(self) -> str:
        """What it is called in settings."""
        ...

    @property
    def size(self) -> int:
        """Pixels of a side."""
        ...

    def words(self) -> tuple[str, ...]:
        """The words that become one token each."""
        ...

    def patterns(self) -> list:
        """All that captions can be: texts, or ``[text with {slots}, {slot: values}]``."""
        ...

    def draw(self, rng: random.Random, count: int, unseen: bool = False) -> list:
        """``count`` items; ``unseen`` draws from those that training never shows."""
        ...

    def pictures(self, items: list) -> Tensor:
        """(n, 3, size, size) float32 in [-1, 1]."""
        ...

    def caption(self, item, rng: random.Random) -> str:
        """One caption, drawn anew each time."""
        ...

    def wrong_caption(self, item, rng: random.Random) -> str | None:
        """A caption that is wrong in one respect, None where the data set knows of none."""
        ...


@dataclass(frozen=True)
class Scenes:
    """The procedural data set."""

    name: str = "scenes"
    size: int = 64

    def words(self) -> tuple[str, ...]:
        return vocabulary()

    def patterns(self) -> list:
        return patterns()

    def draw(self, rng: random.Random, count: int, unseen: bool = False) -> list[Scene]:
        return [random_scene(rng, held_out=unseen) for _ in range(count)]

    def pictures(self, items: list[Scene]) -> Tensor:
        return render_batch(items) * 2 - 1

    def caption(self, item: Scene, rng: random.Random) -> str:
        return item.captions(rng)

    def wrong_caption(self, item: Scene, rng: random.Random) -> str | None:
        return near_miss(item, rng).captions(rng)


@dataclass(frozen=True)
class Part:
    """A share of every batch: one of ``count`` parts, for processes and for accumulation."""

    index: int = 0
    count: int = 1

    def of(self, rows: Any) -> Any:
        """The part's rows of a list or a tensor."""
        return rows[self.index :: self.count]


WHOLE = Part()


def step_rng(seed: int, *what: object) -> tuple[random.Random, torch.Generator]:
    """The randomness of one step: a function of its arguments alone, so that a run can resume."""
    rng = random.Random(f"{seed} {what}")
    return rng, torch.Generator().manual_seed(rng.getrandbits(60))
