"""The local engine with several workers: a process a device or core, each with its own model."""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

from noisespace.batch.job import Group
from noisespace.batch.records import done
from noisespace.batch.run import Stop
from noisespace.batch.work import Loaded, load_group
from noisespace.batch.worker import Order, Worker
from noisespace.errors import RunError

MOST_DEATHS = 5  # of pools one after another, none of which finished a group
EVERY = 0.2  # seconds between looks at whether a stop was asked for

Running = dict[Future, Group]


@dataclass
class Pool:
    """``workers`` processes; groups are decoded here, a few ahead of the network, never all."""

    order: Order
    workers: int
    devices: tuple[str, ...]
    _deaths: int = field(default=0, init=False)

    def __call__(self, todo: Sequence[Group], stop: Stop) -> Generator[Group]:
        """Yields groups as they are done; processes that die are replaced, their groups run again.

        A stop finishes what runs. Raises RunError where processes die without ever doing anything.
        """
        waiting = deque(todo)
        while waiting and not stop:
            finished = yield from self.spell(waiting, stop)
            if waiting and not stop:
                self._deaths = 0 if finished else self._deaths + 1
                if self._deaths >= MOST_DEATHS:
                    raise RunError(
                        f"the worker processes died {MOST_DEATHS} times without finishing a "
                        "group; perhaps memory is short: try fewer --workers or a smaller --batch"
                    )

    def spell(self, waiting: deque[Group], stop: Stop) -> Generator[Group, None, int]:
        """Works until nothing waits, or until a process dies: then what it had waits again."""
        room, running, finished = get_context("spawn"), Running(), 0
        places = room.SimpleQueue()
        for index in range(self.workers):
            places.put(self.devices[index % len(self.devices)])
        pool = ProcessPoolExecutor(self.workers, room, begin, (self.order, places))
        with ThreadPoolExecutor(self.workers) as readers:
            ahead: deque[tuple[Group, Future]] = deque()
            try:
                while waiting or ahead or running:
                    self.feed(pool, readers, (waiting, ahead, running), stop)
                    if stop and not running:
                        break
                    over, _ = wait(running, timeout=EVERY, return_when=FIRST_COMPLETED)
                    for future in over:
                        future.result()
                        finished += 1
                        yield running.pop(future)
            except BrokenProcessPool:
                back = [*running.values(), *(group for group, _ in ahead)]
                waiting.extendleft(g for g in reversed(back) if self.open(g))
                for group in back:
                    if not self.open(group):  # it was done, and only the telling was lost
                        finished += 1
                        yield group
            except BaseException:
                for process in list((pool._processes or {}).values()):  # has no public name
                    process.kill()
                raise
            finally:
                pool.shutdown(cancel_futures=True)
        return finished

    def open(self, group: Group) -> bool:
        """Whether a group is to be run again after its process died."""
        return self.order.again or not done(self.order.out, group.name)

    def feed(self, pool: Any, readers: Any, queues: Any, stop: Stop) -> None:
        """Keeps one group a worker running and one in hand, and as many being decoded."""
        waiting, ahead, running = queues
        while waiting and len(ahead) < self.workers and not stop:
            group = waiting.popleft()
            ahead.append((group, readers.submit(load_group, group)))
        while ahead and len(running) < self.workers + 1 and not stop:
            group, reading = ahead[0]
            if running and not reading.done():
                break
            loaded = reading.result()
            running[pool.submit(do, group, loaded)] = group
            ahead.popleft()


WORKER: Worker | None = None  # of this process


def begin(order: Order, places: Any) -> None:
    """A process's beginning: its device and its model."""
    global WORKER
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to hear
    threading.Thread(target=end_with_parent, daemon=True).start()
    WORKER = Worker.start(order, places.get())


def end_with_parent() -> None:
    """Ends this process when its parent is gone, however that went."""
    import multiprocessing
    import os

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def do(group: Group, loaded: Sequence[Loaded | str]) -> bool:
    """One group in this process."""
    assert WORKER is not None
    return WORKER.do(group, loaded)
