"""A group as engines hand it about: what to run, its pixels, what it gave, and its records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from noisespace.batch.places import StoreError, fetch
from noisespace.batch.plan import PAINTED, Choice, Group, Item
from noisespace.batch.records import Record
from noisespace.core.code import Code
from noisespace.errors import reason
from noisespace.pictures.decode import unpack


@dataclass(frozen=True)
class Task:
    """A group to run.

    ``wanted``: the rows to record of it, None for all (a retry has fewer); ``alone``: image by
    image, for workers died of the group; ``poison``: rows that workers died of, and why they are
    not run.
    """

    group: Group
    attempt: int = 1
    wanted: frozenset[str] | None = None
    alone: bool = False
    poison: Mapping[str, str] = field(default_factory=dict)

    def wants(self, item: Item) -> bool:
        return self.wanted is None or item.id in self.wanted

    @property
    def rows(self) -> int:
        return len(self.group.items) if self.wanted is None else len(self.wanted)


@dataclass(frozen=True, eq=False)
class Ready:
    """A row with its pixels, uint8 (h, w, 3), and its painted mask."""

    item: Item
    pixels: np.ndarray
    mask: np.ndarray | None = None


@dataclass(frozen=True)
class Told:
    """What a worker says of a finished task."""

    group: int
    rows: int
    failed: int
    seconds: float = 0.0
    halved: bool = False


@dataclass(frozen=True)
class Done:
    """A row's results before they are written, or why there are none."""

    pictures: list[Any] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    masks: Any = None
    code: Code | None = None
    steps: int | None = None
    weights: tuple[float | None, float | None] = (None, None)
    batch: int = 0
    seconds: float | None = None
    evaluations: float | None = None
    reason: str = ""
    short: bool = False  # of memory, at first


def decode(task: Task) -> list[Ready | str]:
    """The pixels of a task's rows, or why a row has none."""
    return [ready(item, task.group.choice) for item in task.group.items]


def ready(item: Item, choice: Choice) -> Ready | str:
    """A row's pixels, or why it has none. StoreError where no row would have any."""
    try:
        pixels = unpack(fetch(item.image), item.image)
        painted = choice.mask == PAINTED and item.mask
        return Ready(item, pixels, unpack(fetch(painted), painted) if painted else None)
    except StoreError:
        raise
    except Exception as error:  # of one row: whatever it is, the others go on
        return reason(error)


def record(task: Task, item: Item, done: Done) -> Record:
    """A row's record, without what is only known once its pictures are written."""
    choice = task.group.choice
    return Record(
        id=item.id,
        line=item.line,
        group=task.group.index,
        attempt=task.attempt,
        image=item.image,
        source=item.source,
        targets=list(item.targets),
        mask=item.mask,
        seed=item.seed,
        method=choice.method,
        editor=choice.editor,
        guidance=choice.guidance if done.weights[1] is None else done.weights[1],
        source_guidance=choice.source_guidance if done.weights[0] is None else done.weights[0],
        steps=choice.steps if done.steps is None else done.steps,
        status="failed" if done.reason else "ok",
        reason=done.reason,
        batch=done.batch or None,
        seconds=done.seconds,
        evaluations=done.evaluations,
    )
