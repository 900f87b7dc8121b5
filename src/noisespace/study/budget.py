"""How much a study may do, and its tasks one by one: kept as they are done, told as they go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, TypeVar

import torch

from noisespace.errors import InputError
from noisespace.study import WITHOUT_MODEL
from noisespace.study.finding import Row
from noisespace.study.kept import Kept
from noisespace.version import VERSION

Tell = Callable[[float, float, str], None]  # cost done now, cost to do now, the task just done
Plan = TypeVar("Plan")
MOST = 10**12  # a seed: every image's own is a multiple of it


@dataclass(frozen=True)
class Task:
    """A piece of a study: its ``key`` in the rows, its ``cost`` in network evaluations, the work.

    ``work`` gives its rows; the key is put before each of them.
    """

    key: Mapping[str, Any]
    cost: float
    work: Callable[[], list[Row]]


@dataclass(frozen=True)
class Budget:
    """``images``: how many pictures (None: the study's own number); ``quick``: a small version.

    ``seed``: of the pictures drawn and of the noise; ``kept``: where rows stay; ``tell``: progress.
    """

    images: int | None = None
    quick: bool = False
    seed: int = 0
    kept: Kept = field(default_factory=Kept)
    tell: Tell | None = None

    def __post_init__(self) -> None:
        if self.images is not None and not 1 <= self.images <= 10_000:
            raise InputError(f"images must be a number from 1 to 10000, got {self.images!r}")
        if abs(self.seed) > MOST:
            raise InputError(f"seed must be a number up to {MOST}, got {self.seed!r}")

    def head(self, name: str, model: Any) -> Row:
        """What the rows of a study belong to; ``model`` counts where the study has one."""
        head: Row = {"study": name, "images": self.images, "quick": self.quick, "seed": self.seed}
        own = {} if name in WITHOUT_MODEL else {"model": model.fingerprint}
        return {**head, "version": VERSION, **own}

    def plan(self, full: Plan, quick: Plan) -> Plan:
        """The settings of a study: its usual ones or the quick ones, with ``images`` put in."""
        chosen = quick if self.quick else full
        return chosen if self.images is None else replace(chosen, images=self.images)  # type: ignore

    @torch.no_grad()
    def collect(self, tasks: Sequence[Task]) -> list[Row]:
        """The rows of all tasks, in their order; does those that are not kept yet."""
        todo = [task for task in tasks if self.kept.rows(task.key) is None]
        total, done = sum(task.cost for task in todo), 0.0
        for task in todo:
            start = perf_counter()
            rows = task.work()
            spent = perf_counter() - start
            self.kept.add(task.key, [{**task.key, **row} for row in rows], spent)
            done += task.cost
            if self.tell:
                self.tell(done, total, ", ".join(f"{k} {v}" for k, v in task.key.items()))
        return [row for task in tasks for row in self.kept.rows(task.key) or []]
