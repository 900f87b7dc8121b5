"""The engine: one model at work at a time, one queue, jobs that know nothing of each other."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from noisespace.core.code import Code
from noisespace.errors import InputError
from noisespace.models.base import Model
from noisespace.web.cache import Codes
from noisespace.web.checks import check_request, weight
from noisespace.web.desk import Desk, TimeUp
from noisespace.web.jobs import Busy, Cancelled, Gone, Job
from noisespace.web.limits import Limits
from noisespace.web.notes import noted
from noisespace.web.queue import Queue
from noisespace.web.sentences import failure

Observer = Callable[[str, Job], None]  # what happened: submitted, started or ended


class Engine:
    """Takes requests from several people and runs them one after another, each owner in turn.

    ``models``: by the names that requests use, fixed here; the first is the default. One thread
    works, so that one batch at a time is in memory and a job's seconds are its own. Each of
    ``observers`` is told of every job (metrics, logs). Close it, or use it as a context.
    """

    def __init__(self, models: Mapping[str, Model], limits: Limits | None = None) -> None:
        if not models:
            raise InputError("an engine needs at least one model")
        self.models, self.limits = dict(models), limits or Limits()
        self.tidied: list[Callable[[], None]] = []
        self.given: dict[str, str] = {}  # models as the command line takes them, where that differs
        self.codes = Codes(self.limits.cache_entries, self.limits.cache_bytes, self.limits.lifetime)
        self.observers: list[Observer] = []
        self._queue, self._jobs = Queue(), OrderedDict[str, Job]()
        self._running: Job | None = None
        self._changed = threading.Condition()
        # Warnings have one state a process: whoever changes it for a moment does so alone.
        self._checking = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="noisespace-engine", daemon=True)
        self._thread.start()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def first(self) -> str:
        """The name of the default model."""
        return next(iter(self.models))

    def model(self, name: str = "") -> Model:
        """A model by its name. Raises InputError for one that is not on the list."""
        if (name or self.first) not in self.models:
            raise InputError(f"there is no model {name!r} here; there is {', '.join(self.models)}")
        return self.models[name or self.first]

    def submit(self, request: Any, owner: str, *, previews: bool = True) -> Job:
        """Puts a request into the queue.

        Raises Busy where the queue has no room for it and InputError for what cannot be done, both
        before any denoising.
        """
        self.room(owner, request)  # before the check, which takes time
        with self._checking:
            check_request(self, request, owner)
        job = Job(request, owner, previews=previews)
        with self._changed:
            self.room(owner, request)
            self._forget()
            self._tell("submitted", job)
            self._jobs[job.id] = job
            self._queue.put(job)
            self._changed.notify_all()
        return job

    def job(self, id: str, owner: str) -> Job:
        """An owner's job. Raises Gone for one that is gone or another's: no difference."""
        with self._changed:
            job = self._jobs.get(id)
        if job is None or job.owner != owner:
            raise Gone("there is no such job (any more)")
        return job

    def jobs(self, owner: str) -> list[Job]:
        """An owner's jobs, oldest first."""
        with self._changed:
            return [job for job in self._jobs.values() if job.owner == owner]

    def forget(self, job: Job) -> None:
        """Cancels a job and deletes what it made."""
        job.cancel()
        with self._changed:
            self._jobs.pop(job.id, None)
            self._drop()

    def code(self, key: str, owner: str) -> Code:
        """The code of a key that a job of this owner gave. Raises Gone for any other."""
        return self.codes.named(key, owner)

    def tidy(self) -> None:
        """Deletes what nobody used for a lifetime; what else is to be tidied is in `tidied`."""
        self.codes.expire()
        for tidy in self.tidied:
            tidy()
        with self._changed:
            self._drop()
            self._forget()

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        with self._changed:
            self._drop()
            return len(self._queue)

    @property
    def running(self) -> bool:
        return self._running is not None

    @property
    def alive(self) -> bool:
        """Whether it still takes and does jobs."""
        return self._thread.is_alive() and not self._closed

    def close(self, timeout: float | None = 60.0) -> None:
        """Cancels everything and ends the thread."""
        with self._changed:
            self._closed = True
            for job in self._jobs.values():
                job.cancel()
            self._changed.notify_all()
        self._thread.join(timeout)

    def room(self, owner: str, request: Any = None) -> None:
        """Raises Busy where a request of this owner would not be taken now."""
        with self._changed:
            if self._closed:
                raise Busy("the server is shutting down")
            self._drop()
            self._queue.check_room(self.limits, owner, weight(request))

    def _drop(self) -> None:
        """Forgets jobs that were cancelled while they waited."""
        for job in self._queue.drop_cancelled():
            self._tell("ended", job)

    def _tell(self, event: str, job: Job) -> None:
        for observer in self.observers:
            with suppress(Exception):  # a log that cannot be written stops no work
                observer(event, job)

    def _forget(self) -> None:
        """Deletes finished jobs that are too old, too many or too large, the oldest first."""
        done = [job for job in self._jobs.values() if job.finished]
        held = sum(job.result.bytes for job in done if job.result is not None)
        old, count = time.monotonic() - self.limits.lifetime, len(done)
        for job in done:
            many = count > self.limits.kept_jobs or held > self.limits.kept_bytes
            if many or (job.ended or 0) < old:
                held -= job.result.bytes if job.result is not None else 0
                count -= 1
                del self._jobs[job.id]

    def _work(self) -> None:
        """The thread: job after job, and housekeeping while there is none."""
        while not self._closed:
            with self._changed:
                job = self._queue.take()
                if job is None:
                    self._changed.wait(min(30.0, self.limits.lifetime / 4))
            if job is None:
                self.tidy()
                continue
            if (request := job.request) is not None and job.start():
                self._running = job
                self._tell("started", job)
                self._do(job, request)
                self._running = None
            self._tell("ended", job)

    def _do(self, job: Job, request: Any) -> None:
        """One job, to its end: nothing that it raises goes further."""
        try:
            desk = Desk.of(self.model(request.model), job, self.codes, self.limits)
            job.end("done", noted(desk, request, self._checking))
        except TimeUp:
            most = self.limits.job_seconds
            job.end("failed", error=f"this took longer than {most:g} s, the limit of a job")
        except Cancelled:
            job.end("cancelled")
        except Exception as error:  # the last line of defence: a sentence, never a traceback
            job.end("failed", error=failure(error))
