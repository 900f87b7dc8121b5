"""The Ray engine: groups through Ray Data, decoded by tasks, edited by actors with their model.

Of Ray it takes scheduling, retries of what died and the object store, nothing of bookkeeping:
actors write pictures and the journal's parts themselves, so that a node that is lost, or the
driver, costs the groups in flight. An exception inside of Ray would end the job: so none gets out.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from noisespace.batch.crossing import packed, read, unpacked, written
from noisespace.batch.local import Order, worker_of
from noisespace.batch.marks import BEGUN, Marks
from noisespace.batch.places import scheme
from noisespace.batch.plan import PAINTED
from noisespace.batch.stores import StoreError, store
from noisespace.batch.work import Task, Told, decode
from noisespace.batch.worker import DeviceError
from noisespace.errors import InputError, RunError, reason

SHARED = "NOISESPACE_SHARED_OUT"
DECODES = 2  # deaths of decoders over a group; Ray itself gives up after four
DECODING = 0.25  # of a CPU, a task that decodes
EVERY, LONG = 0.5, 60.0  # seconds between looks at whether to stop, and until silence is told
DEAD = 70  # exit code of an actor that lost its device


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


def on_ray(order: Order, tasks: Sequence[Task], stopped: Callable[[], bool]) -> Iterator[Told]:
    """Runs tasks on Ray and tells of them as they end. A stop leaves what runs for another time.

    Raises StoreError where outputs cannot be written, RunError where Ray gives up.
    """
    ray, place = import_ray(), store(order.out)
    foreign = bool(os.environ.get("RAY_ADDRESS"))
    ours, marked, whole = started(ray), set(place.list(BEGUN)), False
    try:
        nodes = sum(bool(node["Alive"]) for node in ray.nodes())
        check_shared(places_of(order, tasks), nodes, foreign)
        own = resources_of(order, ray, fixed=not foreign)
        for row in polled(pipeline(ray, order, tasks, own).iter_rows, stopped, own):
            if row["error"]:
                raise StoreError(row["error"])
            yield Told(**json.loads(row["told"]))
        whole = not stopped()
    except ray.exceptions.RayError as error:
        whole = True  # whoever died has left its mark
        raise RunError(f"Ray gave up: {reason(error)}") from None
    finally:
        if ours:
            with suppress(Exception):
                ray.shutdown()
        if not whole:  # what was under way was ended by us: nothing died of it
            with suppress(StoreError):
                for name in set(place.list(BEGUN)) - marked:
                    place.remove(f"{BEGUN}/{name}")


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


def pipeline(ray: Any, order: Order, tasks: Sequence[Task], own: Resources) -> Any:
    """read -> decode -> edit; a group is a row, and a block, so that a death costs a group."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    rows = [{"task": written(task)} for task in tasks]
    groups = ray.data.from_items(rows, override_num_blocks=len(rows))
    decoded = groups.map_batches(
        decoding, fn_kwargs={"out": order.out}, batch_size=1, num_cpus=DECODING
    )
    return decoded.map_batches(
        Editing,
        fn_constructor_kwargs={"order": order},
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=own.most),
        num_gpus=own.gpus,
        num_cpus=own.cpus,
    )


def decoding(batch: dict[str, Any], out: str) -> dict[str, Any]:
    """Adds the pixels of each task's rows, or why none can be had.

    A group that decoders died of goes on without pixels, to be read row by row.
    """
    found: dict[str, Any] = {"task": [], "pixels": [], "away": []}
    for text in batch["task"]:
        pixels, why, task, marks = b"", "", read(str(text)), None
        try:
            marks = Marks(store(out), task, DECODES, "decode-")
            task = marks.task()
            if not task.alone:
                pixels = packed(decode(task))
            marks.clear()
        except StoreError as error:
            why = reason(error)
            withdrawn(marks)
        found["task"].append(written(task))
        found["pixels"].append(pixels)
        found["away"].append(why)
    return found


def withdrawn(marks: Marks | None) -> None:
    """What was begun ended without harm: the store failed, no row did."""
    with suppress(StoreError):
        if marks is not None:
            marks.withdraw()


class Editing:
    """An actor: a resident model, called with decoded groups."""

    def __init__(self, order: Order) -> None:
        self._worker = worker_of(order)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        out: dict[str, list[str]] = {"told": [], "error": []}
        for text, data, away in zip(batch["task"], batch["pixels"], batch["away"], strict=True):
            told, error = ("", str(away)) if away else self._one(read(str(text)), bytes(data))
            out["told"].append(told)
            out["error"].append(error)
        return out

    def _one(self, task: Task, data: bytes) -> tuple[str, str]:
        marks = None
        try:
            marks = Marks(self._worker.store, task)
            own = marks.task()
            told = self._worker.run(own, [] if own.alone else unpacked(data, task), marks.row)
            marks.clear()
        except StoreError as error:
            withdrawn(marks)
            return "", reason(error)
        except DeviceError:
            os._exit(DEAD)  # Ray puts another actor in its place, and runs the task again
        return json.dumps(asdict(told)), ""
