"""One resident worker of many: a model that stays, and groups that are done once and for all.

The local pool and the Ray engine share it. A group's shard is written last and from here, so it
does not matter when the worker, or whoever gives it work, dies: what has a shard is done, what has
none is done again and comes out the same.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisespace.batch.job import Group, Job
from noisespace.batch.places import Shelf
from noisespace.batch.records import done, write_group
from noisespace.batch.work import Loaded, Work, failed

MOST_TRIES = 5  # of one group in one run: a row that kills its process must not do so for ever


@dataclass(frozen=True)
class Order:
    """What a worker is told: the job, its places (both shared by all workers), and the run.

    ``again``: groups that have a shard are those with failed rows, to be tried again.
    """

    job: Job
    out: Path
    pictures: str
    run: str
    again: bool = False

    @property
    def halted(self) -> Path:
        """The file that asks workers elsewhere to begin no further group."""
        return self.out / ".stop"

    def tries(self, group: Group) -> Path:
        """The file whose length says how often a group was begun in this run."""
        return self.out / "tries" / f"{group.name}-{self.run}"


@dataclass(frozen=True)
class Worker:
    """A model and its order."""

    work: Work
    order: Order

    @classmethod
    def start(cls, order: Order, device: str) -> Worker:
        """Loads the model and takes as many threads as every worker of the job has."""
        import torch

        from noisespace.models.loading import load

        torch.set_num_threads(order.job.threads)
        model = load(order.job.model, order.job.dtype, device)
        return cls(Work(model, order.job, Shelf(order.pictures)), order)

    def do(self, group: Group, loaded: Sequence[Loaded | str]) -> bool:
        """Does a group unless it is done; False where a stop was asked for.

        Raises InputError where something cannot be written: that ends the job.
        """
        order = self.order
        if not order.again and done(order.out, group.name):
            return True
        if order.halted.exists():
            return False
        mark = order.tries(group)
        if begun(mark) > MOST_TRIES:
            why = f"the process died {MOST_TRIES} times while this group of rows ran"
            rows = [failed(item, group.setting, order.job, why) for item in group.items]
        else:
            rows = self.work.rows(group, loaded)
        write_group(order.out, group.name, rows)
        mark.unlink(missing_ok=True)
        return True


def begun(mark: Path) -> int:
    """Notes that a group is begun; how often that was."""
    mark.parent.mkdir(exist_ok=True)
    with mark.open("ab") as file:
        file.write(b".")
    return mark.stat().st_size


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usual_workers(device: Any, groups: int) -> int:
    """One a device of its kind, or one a core; none for less than a few groups, since each one
    loads the model first."""
    import torch

    if device.type == "cuda":
        alone = device.index is not None
        return 1 if alone else max(1, min(torch.cuda.device_count(), groups))
    return max(1, min(cores(), groups // 8)) if device.type == "cpu" else 1
