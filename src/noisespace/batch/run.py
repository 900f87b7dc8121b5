"""The local engine: groups one after another in this process, or side by side in several."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noisespace.batch.job import Group, Job, groups_of
from noisespace.batch.manifest import Manifest
from noisespace.batch.places import Shelf
from noisespace.batch.records import (
    Row,
    check_folder,
    done,
    open_job,
    read_rows,
    read_shard,
    shard,
    write_shard,
)
from noisespace.batch.work import Work, load_group
from noisespace.files import alone
from noisespace.models.base import Model
from noisespace.version import VERSION

Progress = Callable[[int, int], None]  # rows done, rows in all


class Stop:
    """Whether somebody asked to stop: the group in flight is still finished."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def ask(self) -> None:
        self._asked.set()

    def __bool__(self) -> bool:
        return self._asked.is_set()


@contextmanager
def stopping(stop: Stop, say: Callable[[str], None]) -> Iterator[Stop]:
    """Ctrl-C asks to stop after the group in flight; a second one ends at once."""

    def asked(*_: object) -> None:
        if stop:
            raise KeyboardInterrupt
        stop.ask()
        say("stopping after the batch in flight; again to stop at once (nothing is lost)")

    before = signal.signal(signal.SIGINT, asked)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass(frozen=True)
class Place:
    """Where a job writes: its own folder, and the folder or URL of pictures and codes."""

    out: Path
    shelf: Shelf

    @classmethod
    def of(cls, out: str | Path, pictures: str | None = None) -> Place:
        return cls(Path(out), Shelf(pictures or out))


@dataclass
class Tally:
    """What a run did, and what the folder holds."""

    rows: int = 0
    failed: int = 0
    made: int = 0  # in this run
    seconds: float = 0.0
    stopped: bool = False
    reasons: dict[str, int] = field(default_factory=dict)

    def count(self, rows: Sequence[Row]) -> None:
        self.rows += len(rows)
        for row in rows:
            if row.status != "ok":
                self.failed += 1
                self.reasons[row.reason] = self.reasons.get(row.reason, 0) + 1


def about(manifest: Manifest, job: Job, model: Model, place: Place) -> dict[str, Any]:
    """What job.json says: the manifest, the settings, the model's weights."""
    rows = {"rows": len(manifest.items), "digest": manifest.digest}
    told = {"noisespace": VERSION, "manifest": rows, "settings": job.about()}
    return {**told, "fingerprint": model.fingerprint, "pictures": place.shelf.place}


def run_local(
    manifest: Manifest,
    job: Job,
    model: Model,
    place: Place,
    *,
    force: bool = False,
    retry: bool = False,
    stop: Stop | None = None,
    progress: Progress | None = None,
) -> Tally:
    """Runs what is left of a job in this process, decoding the next group's images meanwhile.

    A group is done when its shard is there, which is written last: a process that dies at any
    moment loses the group in flight and nothing else, and that group comes out again the same.
    ``retry``: rows that failed are tried again, alone. Raises InputError for an ``out`` of another
    job and while another process works in it, and where a picture cannot be written.
    """
    start = time.perf_counter()
    with opened(manifest, job, model, place, force):
        groups, work = groups_of(manifest.items, job), Work(model, job, place.shelf)
        todo = left(groups, place.out, retry)
        tally = Tally(made=0)
        have = len(manifest.items) - sum(len(group.items) for group in todo)
        with ThreadPoolExecutor(1) as ahead:  # decoding beside the network
            coming = ahead.submit(load_group, todo[0]) if todo else None
            for index, group in enumerate(todo):
                assert coming is not None
                loaded = coming.result()
                if index + 1 < len(todo):
                    coming = ahead.submit(load_group, todo[index + 1])
                finish(place.out, group, work.rows(group, loaded))
                tally.made += len(group.items)
                if progress:
                    progress(have + tally.made, len(manifest.items))
                if stop:
                    tally.stopped = index + 1 < len(todo)
                    break
        for group in groups:
            if done(place.out, group.name):
                tally.count(read_shard(shard(place.out, group.name)))
    tally.seconds = time.perf_counter() - start
    return tally


@contextmanager
def opened(manifest: Manifest, job: Job, model: Model, place: Place, force: bool) -> Iterator[None]:
    """A job's folder, made or gone on with, held by this process alone."""
    out = place.out
    check_folder(out)
    with alone(out):
        open_job(out, about(manifest, job, model, place), force)
        place.shelf.check()
        yield


def left(groups: Sequence[Group], out: Path, retry: bool) -> list[Group]:
    """The groups that are not done, and with ``retry`` those of which a row failed."""
    todo = []
    for group in groups:
        if not done(out, group.name):
            todo.append(group)
        elif retry:
            rows = read_shard(shard(out, group.name))
            bad = {row.id for row in rows if row.status != "ok"}
            some = tuple(item for item in group.items if item.id in bad)
            if some:
                todo.append(Group(group.number, group.setting, some))
    return todo


def finish(out: Path, group: Group, rows: Sequence[Row]) -> None:
    """Writes a group's shard; of one that was tried again, the rows that did not fail stay."""
    if done(out, group.name):
        made = {row.id: row for row in rows}
        old = read_shard(shard(out, group.name))
        rows = [made.get(row.id, row) for row in old]
    write_shard(out, group.name, rows)


def summary_of(out: Path) -> Tally:
    """What a job's folder holds now."""
    tally = Tally()
    for row in read_rows(out):
        tally.count([row])
    return tally
