"""Worker processes that share what they import.

Importing torch, diffusers and transformers takes seconds and some 400 MB, in every process anew.
On a CPU under Linux workers are forked instead from one process that has imported them and does
nothing else: no thread that a fork would lose, no model, no device. What dies is replaced at once.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from multiprocessing import forkserver
from typing import Any

PRELOADED = "noisespace.cli.preloaded"


def can_fork(kind: str) -> bool:
    """Whether workers for a kind of device ("cpu", "cuda" ...) can be forked.

    CUDA and Metal do not survive a fork, and what a library touches of them while it is imported
    is its own affair.
    """
    return kind == "cpu" and sys.platform == "linux"


def context_for(kind: str) -> Any:
    """The multiprocessing context that workers for a kind of device come from."""
    if not can_fork(kind):
        return multiprocessing.get_context("spawn")  # a fork of this process's threads may hang
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload([PRELOADED])
    return found


def expect_workers(kind: str) -> None:
    """Begins to import what workers need, while this process does something else."""
    if can_fork(kind):
        context_for(kind)
        forkserver.ensure_running()


def in_environment(environ: Mapping[str, str], target: Callable[..., None], *args: Any) -> None:
    """Runs a worker's target in its parent's environment of now.

    A fork has that of the process it comes from, of when that began.
    """
    for name in os.environ.keys() - environ.keys():
        del os.environ[name]
    os.environ.update(environ)
    target(*args)


def end_with_parent() -> None:
    """Ends this process when its parent is gone, however that went."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
