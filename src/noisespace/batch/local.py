"""The local engine: a resident model in this process, or one in each of several."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch

from noisespace.batch.marks import Marks
from noisespace.batch.plan import Settings
from noisespace.batch.stores import StoreError, store
from noisespace.batch.work import Ready, Task, Told, ready
from noisespace.batch.worker import DeviceError, Worker
from noisespace.models.loading import where

AHEAD = 2  # groups that are held: one in work, the next being decoded
DECODERS = 4  # threads that read and decode; Pillow and stores let go of the interpreter meanwhile
STARTS = 5  # of a group that never ended here, where people end jobs as well as images do
MOST = 4  # processes on a CPU, unless more are asked for: each holds a model

Stopped = Callable[[], bool]
Waiting = deque[tuple[Task, list["Future[Ready | str]"]]]


@dataclass(frozen=True)
class Order:
    """Where and how a job runs; none of it changes a result.

    ``out``: the folder or URL of outputs; ``workers``: models side by side; ``threads``: of each
    on a CPU. The same number of threads means the same rounding, whatever the number of workers.
    ``gpus``: what a worker takes on Ray, a share or a whole one (None: one where there are any).
    """

    out: str
    settings: Settings
    device: str = "auto"
    workers: int = 1
    threads: int = 1
    gpus: float | None = None


def usual_workers(device: str) -> int:
    """A worker a core, up to MOST, on a CPU; one a device on accelerators."""
    kind = where(device)
    if kind.type == "cuda":
        return torch.cuda.device_count() if kind.index is None else 1
    return min(cores(), MOST) if kind.type == "cpu" else 1


def cores() -> int:
    """The cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def worker_of(order: Order, index: int = 0, model: Any = None) -> Worker:
    """A worker with its model on its device; ``index``: which of the order's workers it is."""
    place = where(order.device)
    name = str(place)
    if place.type == "cuda" and place.index is None:
        name = f"cuda:{index % torch.cuda.device_count()}"
    if place.type == "cpu":
        torch.set_num_threads(order.threads)
    own = order.settings.load(name) if model is None else model
    return Worker(own, order.settings, store(order.out))


def submitted(pool: ThreadPoolExecutor, task: Task) -> tuple[Task, list[Future[Ready | str]]]:
    """A task whose rows are being decoded; not if they run alone, which are read one by one."""
    items = () if task.alone else task.group.items
    return task, [pool.submit(ready, item, task.group.choice) for item in items]


def in_process(worker: Worker, tasks: Iterable[Task], stopped: Stopped) -> Iterator[Told]:
    """Runs tasks in this process, decoding ahead; a stop lets the batch in flight end.

    What kills this process is remembered by marks in the store, for whoever starts the job again.
    """
    source, waiting = iter(tasks), Waiting()
    begun: deque[Marks] = deque()  # of what is waiting: decoding may kill this process too
    pool, died = ThreadPoolExecutor(DECODERS), True  # unless we hear of it
    try:
        while not stopped():
            # nothing is read behind what may kill this process, which would be blamed with it
            while len(waiting) < AHEAD and not any(marks.suspect for marks in begun):
                if (task := next(source, None)) is None:
                    break
                begun.append(Marks(worker.store, task, STARTS))
                waiting.append(submitted(pool, begun[-1].task()))
            if not waiting:
                return
            task, futures = waiting.popleft()
            if task.alone:  # so that nothing else can be what this process dies of
                wait([future for _, others in waiting for future in others])
            decoded = [future.result() for future in futures]
            told = worker.run(task, decoded, begun[0].row)
            begun.popleft().clear()
            yield told
        died = False
    except Exception as error:
        died = isinstance(error, DeviceError)
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        for marks in () if died else begun:
            with suppress(StoreError):
                marks.withdraw()
