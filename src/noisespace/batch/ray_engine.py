"""The Ray engine: groups through Ray Data, decoded by tasks, edited by actors with their model.

Of Ray it takes scheduling, retries of what died and the object store, nothing of bookkeeping:
actors write pictures and the journal's parts themselves, so that a node that is lost, or the
driver, costs the groups in flight. An exception inside of Ray would end the job: so none gets out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from noisespace.batch.crossing import packed, read, unpacked, written
from noisespace.batch.local import Order, worker_of
from noisespace.batch.marks import BEGUN, Marks
from noisespace.batch.ray_cluster import (
    DECODING,
    Resources,
    check_shared,
    import_ray,
    places_of,
    polled,
    resources_of,
    started,
)
from noisespace.batch.stores import StoreError, store
from noisespace.batch.work import Task, Told, decode
from noisespace.batch.worker import DeviceError
from noisespace.errors import RunError, reason

DECODES = 2  # deaths of decoders over a group; Ray itself gives up after four
DEAD = 70  # exit code of an actor that lost its device


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
