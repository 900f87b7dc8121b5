"""How a job hears that it shall stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Ctrl-C or SIGTERM asks for a stop after the batch in flight; the second one interrupts."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    kinds = (signal.SIGINT, signal.SIGTERM)
    kept = [signal.signal(kind, ask) for kind in kinds]
    try:
        yield asked.is_set
    finally:
        for kind, handler in zip(kinds, kept, strict=True):
            signal.signal(kind, handler)
