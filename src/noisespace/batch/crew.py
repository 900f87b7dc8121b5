"""Worker processes of the local engine: fed by pipes, replaced when they die, poison isolated.

A process that dies (a kill, a crash, the system's memory killer) takes only its group with it,
which another runs again. A group that several died of is run image by image, so that the image
that they die of is found, and becomes a dead letter.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from noisespace.batch.local import AHEAD, Order, Stopped
from noisespace.batch.serving import serve
from noisespace.batch.stores import StoreError
from noisespace.batch.work import Task, Told
from noisespace.errors import RunError
from noisespace.models.loading import where
from noisespace.system.workers import context_for, in_environment

EVERY = 0.5  # seconds between looks at whether to stop
GROUP_DEATHS = 3  # of workers over one group, until it is run image by image
ROW_DEATHS = 2  # over one image, until it is a dead letter
BEGIN_DEATHS = 3  # in a row, while a worker loads its model, until the job is given up
PATIENCE = 10.0  # seconds for a process to end by itself


@dataclass
class Hand:
    """A worker process, its pipe, and the tasks that it holds (the first is in work)."""

    process: Any
    pipe: Connection
    index: int
    tasks: deque[Task] = field(default_factory=deque)
    begun: bool = False
    row: str | None = None  # in work, while a group runs image by image


class Crew:
    """The worker processes of a job."""

    def __init__(
        self,
        order: Order,
        tasks: Iterable[Task],
        stopped: Stopped,
        target: Callable[[Connection, Order, int], None] = serve,
    ) -> None:
        """``target``: what a process runs."""
        self._target = target
        self._order, self._source, self._stopped = order, iter(tasks), stopped
        self._again: deque[Task] = deque()  # of workers that died
        self._deaths: Counter[int] = Counter()
        self._row_deaths: Counter[str] = Counter()
        self._early = 0  # deaths in a row before a worker had begun
        self._room = context_for(where(order.device).type)
        self._hands: list[Hand] = []

    def run(self) -> Iterator[Told]:
        """What becomes of the tasks, as they end."""
        self._hands = [self._hand(index) for index in range(self._order.workers)]
        ending = False
        try:
            while True:
                if self._stopped() and not ending:
                    ending = True
                    self._end()
                if not ending:
                    self._feed()
                busy = [h for h in self._hands if h.tasks]
                if not busy:
                    return
                for pipe in wait([h.pipe for h in busy], timeout=EVERY):
                    hand = next(h for h in busy if h.pipe is pipe)
                    yield from self._heard(hand, ending)
        finally:
            self._close()

    def _hand(self, index: int) -> Hand:
        ours, theirs = self._room.Pipe()
        process = self._room.Process(
            target=in_environment,
            args=(dict(os.environ), self._target, theirs, self._order, index),
            daemon=True,
        )
        process.start()
        theirs.close()  # so that its end is heard
        return Hand(process, ours, index)

    def _feed(self) -> None:
        """Gives every worker what it may hold."""
        for depth in range(1, AHEAD + 1):  # one each before anyone gets a second
            for hand in self._hands:
                if len(hand.tasks) >= depth or self._suspect(hand.tasks):
                    continue
                task = self._next(behind=depth > 1)
                if task is None:
                    return
                hand.tasks.append(task)
                with suppress(OSError):  # it has died: heard at its pipe
                    hand.pipe.send(task)

    def _next(self, behind: bool) -> Task | None:
        """What to do next. ``behind``: another one, where no suspect goes: both would be blamed."""
        if self._again and not (behind and self._suspect(self._again)):
            return self._again.popleft()
        return next(self._source, None)

    def _suspect(self, tasks: deque[Task]) -> bool:
        """Whether the first of some tasks is one that a worker may have died of."""
        return bool(tasks) and self._deaths[tasks[0].group.index] > 0

    def _heard(self, hand: Hand, ending: bool) -> Iterator[Told]:
        try:
            kind, what = hand.pipe.recv()
        except (EOFError, OSError):
            if ending:
                hand.tasks.clear()
            else:
                self._died(hand)
            return
        if kind == "begun":
            hand.begun, self._early = True, 0
        elif kind == "row":
            hand.row = what or None
        elif kind == "told":
            hand.row = None
            hand.tasks.popleft()
            yield what
        elif kind == "full":
            raise StoreError(what)
        else:
            raise RunError(f"a worker failed: {what}")

    def _died(self, hand: Hand) -> None:
        """Replaces a dead worker, and hands its tasks to others."""
        hand.process.join(PATIENCE)
        code = hand.process.exitcode
        if not hand.begun:
            self._early += 1
            if self._early >= BEGIN_DEATHS:
                raise RunError(
                    f"{BEGIN_DEATHS} workers in a row died while loading the model (exit code "
                    f"{code}); is there memory for {self._order.workers} models? Try --workers 1"
                )
        elif hand.row is not None:
            hand.tasks[0] = self._blamed_row(hand.tasks[0], hand.row, code)
        else:  # the one in work, or the next one, which is read meanwhile
            hand.tasks = deque(map(self._blamed, hand.tasks))
        self._again.extendleft(reversed(hand.tasks))
        hand.pipe.close()
        self._hands[self._hands.index(hand)] = self._hand(hand.index)

    def _blamed(self, task: Task) -> Task:
        """A task that a worker may have died of."""
        self._deaths[task.group.index] += 1
        deaths = self._deaths[task.group.index]
        if deaths < 2 * GROUP_DEATHS:
            return replace(task, alone=deaths >= GROUP_DEATHS)
        # of none of its images, one by one: of what it made of them
        why = f"the worker died {deaths} times of what it made of this group"
        return replace(task, alone=True, poison={item.id: why for item in task.group.items})

    def _blamed_row(self, task: Task, row: str, code: int | None) -> Task:
        """A task that a worker died of, while this row of it ran alone."""
        self._row_deaths[row] += 1
        if self._row_deaths[row] < ROW_DEATHS:
            return task
        why = f"the worker died of it {ROW_DEATHS} times when it ran alone (exit code {code})"
        return replace(task, poison={**task.poison, row: why})

    def _end(self) -> None:
        """Lets every worker finish what is in work, and nothing after it."""
        self._again.clear()
        for hand in self._hands:
            with suppress(OSError):
                hand.pipe.send(None)  # it closes its pipe then, and what it holds is left

    def _close(self) -> None:
        """Ends the processes: those that are done by themselves, others at once."""
        for hand in self._hands:
            with suppress(OSError):
                hand.pipe.send(None)
        for hand in self._hands:
            hand.process.join(0 if hand.tasks else PATIENCE)
            if hand.process.is_alive():
                hand.process.kill()
                hand.process.join()
            hand.pipe.close()
