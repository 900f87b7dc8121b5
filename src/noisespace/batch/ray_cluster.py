"""What the Ray engine needs to know of a cluster: whether it is there, shares files, has room."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from noisespace.batch.local import Order
from noisespace.batch.places import scheme
from noisespace.batch.plan import PAINTED
from noisespace.batch.work import Task
from noisespace.errors import InputError, reason

SHARED = "NOISESPACE_SHARED_OUT"
DECODING = 0.25  # of a CPU, a task that decodes
EVERY, LONG = 0.5, 60.0  # seconds between looks at whether to stop, and until silence is told


@dataclass(frozen=True)
class Resources:
    """What an actor takes (``gpus`` may be a share) and how many there may be, one at least."""

    gpus: float
    cpus: float
    most: int


def import_ray() -> Any:
    """Ray with its data sets. InputError where it is not installed."""
    try:
        import ray
        import ray.data
    except ImportError:
        raise InputError(
            '--engine ray needs Ray, which is not installed: pip install "noisespace[ray]"'
        ) from None
    return ray


def check_shared(places: Iterable[str], nodes: int, foreign: bool) -> None:
    """Refuses local folders where there are other machines and nobody says that they share them.

    ``foreign``: a cluster by its address, which may grow beyond the nodes of now.
    """
    here = next((place for place in places if not scheme(place)), None)
    if here is not None and (foreign or nodes > 1) and not os.environ.get(SHARED):
        raise InputError(
            f"{here}: on a cluster, name outputs and images by URL (s3://...), or lay them in a "
            f"folder that all of its nodes share, and say so by {SHARED}=1"
        )


def places_of(order: Order, tasks: Sequence[Task]) -> Iterator[str]:
    """The output's place, and those of images and painted masks."""
    yield order.out
    for task in tasks:
        for item in task.group.items:
            yield item.image
            if item.mask and task.group.choice.mask == PAINTED:
                yield item.mask


def started(ray: Any) -> bool:
    """Connects to the cluster of RAY_ADDRESS, else starts one here; whether it is ours to end."""
    if ray.is_initialized():
        return False
    given, main = os.environ.get("RAY_ADDRESS"), threading.current_thread()
    kept = signal.getsignal(signal.SIGTERM)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    options |= {} if given else {"include_dashboard": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own changes to come
        try:
            ray.init(address=given, **options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            where = f"the cluster of RAY_ADDRESS={given}" if given else "a Ray of our own"
            raise InputError(f"{where} does not answer ({reason(error)})") from None
    if main is threading.main_thread():  # Ray puts one of its own, which ends us in disorder
        signal.signal(signal.SIGTERM, kept)
    return True


def resources_of(order: Order, ray: Any, fixed: bool) -> Resources:
    """An accelerator an actor where the cluster has some and nothing else is asked for.

    ``fixed``: the cluster is as large as it will be. Then an actor leaves room for decoding, and
    one that would find none raises InputError: Ray would wait for ever.
    """
    have = ray.cluster_resources()
    gpus = float(have.get("GPU", 0)) if order.device != "cpu" else 0.0
    share = (1.0 if gpus else 0.0) if order.gpus is None else order.gpus
    cpus = float(order.threads) if not share else 1.0
    if fixed:
        cpus = min(cpus, max(DECODING, float(have.get("CPU", 1)) - DECODING))
        if share > gpus:
            raise InputError(f"--gpus {share:g}: Ray has {gpus:g} here; give less, or --gpus 0")
    room = gpus / share if share else float(have.get("CPU", 1)) / cpus
    return Resources(share, cpus, order.workers or max(1, int(room)))


def polled(
    rows: Callable[[], Iterator[dict[str, Any]]], stopped: Callable[[], bool], own: Resources
) -> Iterator[dict[str, Any]]:
    """The rows as they come, until a stop: also while Ray waits for room, which may be for ever."""
    found: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def fill() -> None:
        try:
            for row in rows():
                found.put(row)
                if stopped():
                    break
            found.put(None)
        except BaseException as error:
            found.put(error)

    threading.Thread(target=fill, daemon=True).start()
    since, told = time.monotonic(), False
    while not stopped():
        try:
            row = found.get(timeout=EVERY)
        except queue.Empty:
            if not told and time.monotonic() - since > LONG:
                told = True
                warnings.warn(
                    f"nothing has come of Ray for {LONG:.0f} s: is there room for an actor with "
                    f"{own.cpus:g} CPUs and {own.gpus:g} GPUs?",
                    stacklevel=2,
                )
            continue
        if row is None:
            return
        if isinstance(row, BaseException):
            raise row
        since = time.monotonic()
        yield row
