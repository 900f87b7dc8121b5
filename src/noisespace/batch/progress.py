"""How far a job is, counted from what its engine finishes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from noisespace.batch import records
from noisespace.batch.plan import Plan
from noisespace.batch.records import SPAN, Known
from noisespace.batch.stores import Store
from noisespace.batch.work import Told


@dataclass(frozen=True)
class Progress:
    """Rows in all, done (failed ones too) and failed; of this run: seconds, rows, and its goal."""

    total: int
    done: int
    failed: int
    seconds: float = 0.0
    fresh: int = 0
    goal: int = 0

    @property
    def rate(self) -> float:
        """Rows a second of this run."""
        return self.fresh / self.seconds if self.seconds > 0 else 0.0

    @property
    def left(self) -> float | None:
        """Seconds to the end, None where nobody can tell."""
        return (self.goal - self.fresh) / self.rate if self.rate else None

    @property
    def settled(self) -> int:
        """Rows that are not to be done in this run any more."""
        return self.total - (self.goal - self.fresh)


def followed(
    run: Iterator[Told],
    place: Store,
    plan: Plan,
    before: Known,
    goal: int,
    tell: Callable[[Progress], None],
) -> tuple[Progress, int]:
    """Counts what an engine finishes, tells it, and puts parts together as spans fill.

    ``goal``: how many rows it shall finish.
    """
    start, halved = time.monotonic(), 0
    now = Progress(plan.rows, before.done, before.failures, goal=goal)
    spans: dict[int, int] = {}
    for group in before.attempts:
        spans[group // SPAN] = spans.get(group // SPAN, 0) + 1
    tell(now)
    for one in run:
        first = one.group not in before.attempts
        seconds, fresh = time.monotonic() - start, now.fresh + one.rows
        again = 0 if first else one.rows  # they were failures before
        done, failed = now.done + one.rows - again, now.failed + one.failed - again
        now = Progress(plan.rows, done, failed, seconds, fresh, goal)
        halved += one.halved
        tell(now)
        span = one.group // SPAN
        spans[span] = spans.get(span, 0) + first
        if first and spans[span] == min(SPAN, len(plan.groups) - span * SPAN):
            records.compact(place, len(plan.groups))
    return now, halved
