"""What a job will take: evaluations of the network, time from a short probe, disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from noisespace.batch.job import Group, Job
from noisespace.batch.places import Shelf
from noisespace.batch.work import Loaded, Work, load
from noisespace.bench.costs import costing
from noisespace.errors import InputError
from noisespace.metadata import png_bytes


@dataclass(frozen=True)
class Price:
    """Sums over all rows. ``evaluations``: rows through the network; ``bytes``: of pictures and
    codes; each setting is probed on one batch, the rest reckoned from it."""

    rows: int
    pictures: int
    evaluations: float
    seconds: float
    bytes: float

    def words(self) -> str:
        hours, minutes = divmod(round(self.seconds / 60), 60)
        time = f"{hours} h {minutes} min" if hours else f"{max(minutes, 1)} min"
        if self.seconds < 90:
            time = f"{self.seconds:.0f} s"
        return (
            f"{self.rows} rows, {self.pictures} pictures: about {time} on this machine, "
            f"{self.evaluations:,.0f} evaluations of the network, {self.bytes / 1e6:,.1f} MB"
        )


def price(groups: Sequence[Group], job: Job, model: Any) -> Price:
    """Probes one batch of each setting; nothing is written.

    Raises InputError where no image of a setting can be read, or the probe fails.
    """
    probed: dict[Any, tuple[float, float, float, int]] = {}
    totals = np.zeros(3)
    for group in groups:
        if group.setting not in probed:
            probed[group.setting] = probe(group, job, model)
        seconds, evaluations, size, count = probed[group.setting]
        totals += np.array([seconds, evaluations, size]) * len(group.items) / count
    rows = sum(len(group.items) for group in groups)
    pictures = sum(len(group.items) * group.setting.targets for group in groups)
    return Price(rows, pictures, float(totals[1]), float(totals[0]), float(totals[2]))


def probe(group: Group, job: Job, model: Any) -> tuple[float, float, float, int]:
    """(seconds, evaluations, bytes, images) of one batch."""
    work, loaded = Work(model, job, Shelf(".")), [load(item) for item in group.items]
    good = [one for one in loaded if isinstance(one, Loaded)]
    if not good:
        raise InputError(f"no image of {group.name} can be read: {loaded[0]}")
    size = work.size(good[0])
    some = [one for one in good if work.size(one) == size]
    (code, result), cost = costing(model, lambda m: work.edited(m, group.setting, some))
    written = sum(len(png_bytes(np.asarray(picture))) for picture in result.images)
    written += len(code.to_bytes()) if job.codes else 0
    return cost.seconds, cost.evaluations, float(written), len(some)
