"""The queue: jobs of several people, served in turn."""

from __future__ import annotations

from collections import OrderedDict, deque

from noisespace.web.jobs import Job


class Queue:
    """Waiting jobs, served in turn: one of each owner, then the next of each. Not locked."""

    def __init__(self) -> None:
        self._owners: OrderedDict[str, deque[Job]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._owners.values()))

    def count(self, owner: str) -> int:
        """How many of an owner's jobs wait."""
        return len(self._owners.get(owner, ()))

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
