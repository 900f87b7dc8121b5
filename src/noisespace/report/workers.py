"""Measures a report's tasks side by side, in processes of one model each.

A small network does not fill the cores with its threads, and most of a report is small networks.
Every task keeps its rows in its folder as it goes, so a process hands nothing back: whoever makes
the report finds the rows there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from queue import Empty
from typing import Any

from noisespace.report.order import Order
from noisespace.system.workers import context_for, end_with_parent, in_environment

EVERY = 0.5  # seconds between looks at what the processes tell
MOST = 4  # processes, unless more are asked for: each holds a model

Measure = Callable[[str, Any, Order, Path, Callable[..., None]], Any]
Share = Callable[[str, float], None]  # a task's name, how much of it is done


def usual(device: str) -> int:
    """How many processes serve a device: one a core up to MOST, and one on an accelerator."""
    return min(os.cpu_count() or 1, MOST) if device == "cpu" else 1


def side_by_side(
    measure: Measure, names: Sequence[str], order: Order, out: Path, jobs: int, share: Share
) -> None:
    """Runs ``measure(name, model, order, out, tell)`` for every name.

    ``measure`` is a function of a module, which processes can import. What fails or dies is left
    out: it is for the caller to try it again and say why. Ctrl-C ends the processes at once.
    """
    source = context_for("cpu")
    told = source.Queue()
    pool = ProcessPoolExecutor(
        jobs, source, in_environment, (dict(os.environ), begin, order, jobs, told)
    )
    waiting: dict[Future, str] = {
        pool.submit(measured, measure, name, order, out): name for name in names
    }
    try:
        while waiting:
            done, _ = wait(waiting, timeout=EVERY, return_when=FIRST_COMPLETED)
            for name, part in heard(told):
                if name in waiting.values():  # what a task told may arrive after its end
                    share(name, part)
            for future in done:
                name = waiting.pop(future)
                with contextlib.suppress(Exception, BrokenProcessPool):
                    future.result()
                share(name, 1.0)
    except BaseException:
        for process in list((pool._processes or {}).values()):  # has no public name
            process.kill()  # rows are whole or cut off by whoever goes on
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def heard(told: Any) -> Iterator[tuple[str, float]]:
    """What processes have told since the last look."""
    with contextlib.suppress(Empty):
        while True:
            yield told.get_nowait()


MODEL: Any = None  # of this process
TOLD: Any = None


def begin(order: Order, jobs: int, told: Any) -> None:
    """A process's beginning: its model, its share of the cores."""
    global MODEL, TOLD
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to hear
    threading.Thread(target=end_with_parent, daemon=True).start()

    import torch

    from noisespace.models.loading import load

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))
    MODEL, TOLD = load(order.model, "float32", "cpu"), told


def measured(measure: Measure, name: str, order: Order, out: Path) -> None:
    """One task in this process."""

    def tell(done: float, total: float, _: str = "") -> None:
        TOLD.put((name, done / total if total else 1.0))

    measure(name, MODEL, order, out, tell)
