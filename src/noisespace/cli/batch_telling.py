"""What ``noisespace batch`` says: how far a job is, what it would cost, how it goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from noisespace.cli.outcome import finish, progress, say

if TYPE_CHECKING:
    from noisespace.batch.job import Progress
    from noisespace.batch.local import Order
    from noisespace.batch.plan import Plan

EVERY = 15.0  # seconds between lines of progress where there is no terminal


def tell_status(out: str, as_json: bool) -> None:
    from noisespace.batch.job import status
    from noisespace.batch.records import arrow

    arrow()
    found = status(out)
    line = "{done} of {rows} rows done, {failed} failed, {left} left".format(**found)
    finish(found, [line], as_json)


def tell_price(plan: Plan, order: Order, as_json: bool) -> None:
    from noisespace.batch.job import loaded
    from noisespace.batch.places import check_reach
    from noisespace.batch.price import price

    check_reach(plan.places())
    model = loaded(plan, order)
    found = price(plan, order, model)
    lines = [
        f"{found['rows']} rows, {found['edits']} edits in {found['groups']} groups",
        f"{found['evaluations']} network evaluations, about {found['seconds']:.0f} s with "
        f"{found['workers']} worker(s), about {found['disk_mb']} MB",
    ]
    finish(found, lines, as_json)


@contextmanager
def telling() -> Iterator[Callable[[Progress], None]]:
    """Progress with throughput and the time left: a bar on a terminal, else a line now and then."""
    last = time.monotonic()

    def line(now: Progress) -> None:
        nonlocal last
        ended = now.fresh >= now.goal
        if now.fresh and (time.monotonic() - last >= EVERY or ended):
            last = time.monotonic()
            left = "" if now.left is None or ended else f", about {now.left:.0f} s left"
            say(f"{now.done}/{now.total} rows, {now.failed} failed, {now.rate:.2f} rows/s{left}")

    with progress("rows") as bar:

        def both(now: Progress) -> None:
            bar.note(f"{now.rate:.2f} rows/s, {now.failed} failed")
            bar(now.settled, now.total)

        yield both if bar.visible else line
