"""The queue: jobs of several people, served in turn."""

from __future__ import annotations

from collections import OrderedDict, deque

from noisespace.web.checks import weight
from noisespace.web.jobs import Busy, Job
from noisespace.web.limits import Limits


class Queue:
    """Waiting jobs, served in turn: one of each owner, then the next of each. Not locked."""

    def __init__(self) -> None:
        self._owners: OrderedDict[str, deque[Job]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._owners.values()))

    def count(self, owner: str) -> int:
        """How many of an owner's jobs wait."""
        return len(self._owners.get(owner, ()))

    def check_room(self, limits: Limits, owner: str, held: int) -> None:
        """Raises Busy where there is no room for a job of this owner that holds so many bytes."""
        if self.count(owner) >= limits.queue_owner:
            raise Busy(
                f"{limits.queue_owner} of your jobs wait already: let one finish, or cancel one",
                yours=True,
            )
        waiting = self.order()
        held += sum(weight(job.request) for job in waiting)
        if len(waiting) >= limits.queue or (waiting and held > limits.queue_bytes):
            raise Busy(f"the queue is full ({len(waiting)} jobs wait): try again in a minute")

    def put(self, job: Job) -> None:
        self._owners.setdefault(job.owner, deque()).append(job)
        self._place()

    def take(self) -> Job | None:
        """The next job; its owner goes to the end of the line."""
        if not self._owners:
            return None
        owner, jobs = self._owners.popitem(last=False)
        job = jobs.popleft()
        if jobs:
            self._owners[owner] = jobs
        self._place()
        return job

    def drop_cancelled(self) -> list[Job]:
        """Forgets the jobs that were cancelled while they waited, and says which."""
        dropped = [job for jobs in self._owners.values() for job in jobs if job.finished]
        for owner, jobs in list(self._owners.items()):
            kept = deque(job for job in jobs if not job.finished)
            if kept:
                self._owners[owner] = kept
            else:
                del self._owners[owner]
        if dropped:
            self._place()
        return dropped

    def order(self) -> list[Job]:
        """The waiting jobs as they will be taken."""
        lines = [list(jobs) for jobs in self._owners.values()]
        longest = max(map(len, lines), default=0)
        return [line[k] for k in range(longest) for line in lines if k < len(line)]

    def _place(self) -> None:
        for position, job in enumerate(self.order(), 1):
            job.place(position)
