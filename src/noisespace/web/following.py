"""A job of the page, from its request to its outcome."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from noisespace.errors import RunError
from noisespace.web.jobs import Busy, Job
from noisespace.web.panel import panel, under_way
from noisespace.web.session import Session

PACE = 0.1  # seconds between two pictures that are sent to a browser


def follow(engine: Any, session: Session, request: Any) -> Iterator[str]:
    """Runs a job and yields what the page shows of it; returns its outcome.

    It takes the place of a job that this session still has. Raises RunError for a job that failed
    or was cancelled; closing this cancels the job. The engine forgets it: nobody asks for it again,
    and the results that it keeps are bounded.
    """
    job, last = submitted(engine, session, request), 0.0
    try:
        for view in job.events(every=1.0):
            now = time.monotonic()
            if view.state in ("waiting", "running") and now - last >= PACE:
                last = now
                done = view.index / view.total if view.total else None
                yield panel(under_way(view), done=done, picture=view.preview)
    finally:
        if session.job is job:
            session.job = None
        engine.forget(job)  # cancels it where nobody looks any more
    if job.state == "done":
        return job.result
    raise RunError(job.error or "Cancelled.")


def submitted(engine: Any, session: Session, request: Any) -> Job:
    """The job of a request; the one that this session still has is cancelled.

    In this order, so that a request that is refused stops nothing. Raises Busy and InputError as
    the engine does.
    """
    former = session.job
    try:
        job = engine.submit(request, session.owner)
    except Busy as refusal:
        if not refusal.yours or former is None:
            raise
        former.cancel()  # it is what fills this visitor's place in the queue
        job = engine.submit(request, session.owner)
    session.job = job
    if former is not None:
        former.cancel()
    return job


def telling(job: Iterator[str], rest: Sequence[Any]) -> Generator[list[Any], None, Any]:
    """A followed job for a handler whose first output is a panel; ``rest``: the others meanwhile.

    Returns the outcome.
    """
    while True:
        try:
            said = next(job)
        except StopIteration as end:
            return end.value
        yield [said, *rest]
