"""The Ray engine: groups through Ray Data, decoded by tasks, edited by actors with their model.

Of Ray it takes scheduling, retries of what died and the object store, nothing of bookkeeping:
actors write pictures and the journal's parts themselves, so that a node that is lost, or the
driver, costs the groups in flight. An exception inside of Ray would end the job: so none gets out.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from typing import Any

import numpy as np

from noisespace.batch.local import Order, worker_of
from noisespace.batch.places import Store, StoreError, scheme
from noisespace.batch.plan import Choice, Group, Item
from noisespace.batch.work import Ready, Task, Told, decode
from noisespace.errors import InputError, RunError, reason

SHARED = "NOISESPACE_SHARED_OUT"
GROUP_STARTS = 3  # of a group that never ended, until it is run image by image
ROW_STARTS = 2  # of an image alone that never ended, until it is a dead letter


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


def check_shared(out: str, nodes: int) -> None:
    """Refuses a local folder on several nodes that nobody says they share."""
    if nodes > 1 and not scheme(out) and not os.environ.get(SHARED):
        raise InputError(
            f"{out}: the cluster has {nodes} nodes; write to a URL (s3://...), or to a folder that "
            f"all of them share, and say so by {SHARED}=1"
        )


def started(ray: Any) -> bool:
    """Connects to the cluster of RAY_ADDRESS, else starts one here; whether it is ours to end."""
    if ray.is_initialized():
        return False
    given = os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    options |= {} if given else {"include_dashboard": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own changes to come
        ray.init(address=given, **options)
    return True


def resources_of(order: Order, ray: Any) -> Resources:
    """An accelerator an actor where the cluster has some and nothing else is asked for."""
    have = ray.cluster_resources()
    gpus = float(have.get("GPU", 0)) if order.device != "cpu" else 0.0
    share = (1.0 if gpus else 0.0) if order.gpus is None else order.gpus
    cpus = float(order.threads) if not share else 1.0
    room = gpus / share if share else float(have.get("CPU", 1)) / cpus
    return Resources(share, cpus, order.workers or max(1, int(room)))


def on_ray(order: Order, tasks: Sequence[Task], stopped: Callable[[], bool]) -> Iterator[Told]:
    """Runs tasks on Ray and tells of them as they end. A stop leaves what runs for another time.

    Raises StoreError where outputs cannot be written, RunError where Ray gives up.
    """
    ray = import_ray()
    ours = started(ray)
    try:
        check_shared(order.out, sum(bool(node["Alive"]) for node in ray.nodes()))
        found = pipeline(ray, order, tasks, resources_of(order, ray))
        for row in found.iter_rows():
            if row["error"]:
                raise StoreError(row["error"])
            yield Told(**json.loads(row["told"]))
            if stopped():
                return
    except ray.exceptions.RayError as error:
        raise RunError(f"Ray gave up: {reason(error)}") from None
    finally:
        if ours:
            with suppress(Exception):
                ray.shutdown()


def pipeline(ray: Any, order: Order, tasks: Sequence[Task], own: Resources) -> Any:
    """read -> decode -> edit; a group is a row, and a block, so that a death costs a group."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    rows = [{"task": written(task)} for task in tasks]
    groups = ray.data.from_items(rows, override_num_blocks=len(rows))
    decoded = groups.map_batches(decoding, batch_size=1, num_cpus=0.25)
    return decoded.map_batches(
        Editing,
        fn_constructor_kwargs={"order": order},
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=own.most),
        num_gpus=own.gpus,
        num_cpus=own.cpus,
    )


def decoding(batch: dict[str, Any]) -> dict[str, Any]:
    """Adds the pixels of each task's rows."""
    tasks = [str(text) for text in batch["task"]]
    return {"task": tasks, "pixels": [packed(decode(read(text))) for text in tasks]}


class Editing:
    """An actor: a resident model, called with decoded groups."""

    def __init__(self, order: Order) -> None:
        self._worker = worker_of(order)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        out: dict[str, list[str]] = {"told": [], "error": []}
        for text, data in zip(batch["task"], batch["pixels"], strict=True):
            told, error = self._one(read(str(text)), bytes(data))
            out["told"].append(told)
            out["error"].append(error)
        return out

    def _one(self, task: Task, data: bytes) -> tuple[str, str]:
        store = self._worker.store
        try:
            marks = Marks(store, task)
            told = self._worker.run(marks.task(), unpacked(data, task), marks.row)
            marks.clear()
        except StoreError as error:
            return "", reason(error)
        return json.dumps(asdict(told)), ""


class Marks:
    """Marks in the store of what was begun, so that what kills its worker again is found.

    Ray runs again what died, for ever; nobody but the store remembers how often.
    """

    def __init__(self, store: Store, task: Task) -> None:
        self._store, self._task = store, task
        self._head = f"begun/{task.group.index:08d}-{task.attempt:03d}"
        self._made = self._there(self._head)
        self._starts = len(self._made)

    def task(self) -> Task:
        """The task, image by image if it was begun too often, without the images that kill."""
        self._mark(self._head)
        if self._starts < GROUP_STARTS:
            return self._task
        poison = {}
        for item in self._task.group.items:
            found = self._there(self._of(item.id))
            self._made += found
            if len(found) >= ROW_STARTS:
                poison[item.id] = f"the worker died of it {len(found)} times when it ran alone"
        return replace(self._task, alone=True, poison=poison)

    def row(self, name: str) -> None:
        """An image begins, alone."""
        self._mark(self._of(name))

    def clear(self) -> None:
        for name in set(self._made):
            self._store.remove(name)

    def _of(self, name: str) -> str:
        return f"{self._head}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"

    def _there(self, head: str) -> list[str]:
        found: list[str] = []
        while self._store.has(name := f"{head}.{len(found)}"):
            found.append(name)
        return found

    def _mark(self, head: str) -> None:
        name = f"{head}.{len(self._there(head))}"
        self._store.put(name, b"begun")
        self._made.append(name)


def written(task: Task) -> str:
    """A task as JSON: plain data crosses between machines, no pickle of ours."""
    return json.dumps({**asdict(task), "wanted": sorted(task.wanted or ()) or None})


def read(text: str) -> Task:
    found = json.loads(text)
    group, wanted = found["group"], found["wanted"]
    items = tuple(Item(**{**i, "targets": tuple(i["targets"])}) for i in group["items"])
    whole = Group(group["index"], Choice(**group["choice"]), items)
    return Task(whole, found["attempt"], None if wanted is None else frozenset(wanted))


def packed(decoded: Sequence[Ready | str]) -> bytes:
    """Pixels and masks of a group, or the reasons why there are none, as one npz."""
    arrays: dict[str, np.ndarray] = {}
    for at, one in enumerate(decoded):
        if isinstance(one, str):
            arrays[f"reason{at}"] = np.array(one)
            continue
        arrays[f"pixels{at}"] = one.pixels
        if one.mask is not None:
            arrays[f"mask{at}"] = one.mask
    buffer = BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def unpacked(data: bytes, task: Task) -> list[Ready | str]:
    found = dict(np.load(BytesIO(data), allow_pickle=False))
    out: list[Ready | str] = []
    for at, item in enumerate(task.group.items):
        if f"reason{at}" in found:
            out.append(str(found[f"reason{at}"]))
        else:
            out.append(Ready(item, found[f"pixels{at}"], found.get(f"mask{at}")))
    return out
