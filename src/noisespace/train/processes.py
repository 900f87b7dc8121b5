"""The processes of a run (``accelerate launch``): who they are, and what they agree on."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env, reduce
from torch import Tensor

from noisespace.errors import InputError
from noisespace.train.config import Config

PATIENCE = timedelta(hours=12)  # of the others, while the first reads images or draws a sheet
TWICE = 1.0  # seconds in which a second signal is the first one again, sent on by a launcher


def processes() -> Any:
    """accelerate's state: the device, the number and the count of this run's processes.

    Several of them on the CPU (gloo) want ACCELERATE_USE_CPU=true, which only accelerate's larger
    states look for.
    """
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"), timeout=PATIENCE)


def mean_of(tensor: Tensor) -> Tensor:
    """The mean of a tensor over all processes."""
    shared: Any = reduce(tensor, "mean")
    return shared


def any_of(flag: bool) -> bool:
    """Whether any process says so; all get the same answer."""
    state = processes()
    if state.num_processes == 1:
        return flag
    return float(mean_of(torch.tensor(float(flag), device=state.device))) > 0


def check_parts(settings: Config, stages: tuple[str, ...]) -> None:
    """InputError unless the batch of each stage splits among processes and accumulated parts."""
    count = processes().num_processes
    for name in stages:
        stage = getattr(settings, name)
        parts, least = stage.accumulate * count, 2 if name in ("alignment", "classifier") else 1
        if stage.batch % parts or stage.batch // parts < least:
            several = "" if least == 1 else f" of at least {least} pictures"
            raise InputError(
                f"{name}: batch {stage.batch} does not split into {parts} equal parts{several} "
                f"({count} processes, accumulate {stage.accumulate}): change batch or accumulate"
            )


@contextmanager
def stopping() -> Iterator[Event]:
    """An event that Ctrl-C or a SIGTERM sets, so that a run ends after a step, not inside of one.

    A second one, a moment later, ends it at once. Outside the main thread, which alone gets them,
    it is never set.
    """
    asked, first = Event(), [0.0]

    def ask(number: int, frame: Any) -> None:
        if asked.is_set() and time.monotonic() - first[0] > TWICE:
            raise KeyboardInterrupt
        if not asked.is_set():
            first[0] = time.monotonic()
        asked.set()

    signals = (signal.SIGINT, signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread():
        signals = ()
    before = {number: signal.signal(number, ask) for number in signals}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
