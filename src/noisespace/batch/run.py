"""Runs a job: its folder, what is left of it, and the engine of one process."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

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
    write_group,
)
from noisespace.batch.work import Work, load_group
from noisespace.files import alone
from noisespace.models.base import Model
from noisespace.version import VERSION

Progress = Callable[[int, int], None]  # rows done, rows in all
# Does groups, in any order, and yields each when its shard is written; ends early at a stop
Engine = Callable[[Sequence[Group], "Stop"], Generator[Group]]


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


def run_job(
    manifest: Manifest,
    job: Job,
    model: Model,
    place: Place,
    *,
    force: bool = False,
    retry: bool = False,
    stop: Stop | None = None,
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> Tally:
    """Runs what is left of a job, by default in this process.

    A group is done when its shard is there, which is written last: whatever dies at any moment
    loses the groups in flight and nothing else, and these come out again the same.
    ``retry``: rows that failed are tried again, alone. Raises InputError for an ``out`` of another
    job and while another process works in it, and where a picture cannot be written.
    """
    start, stop = time.perf_counter(), Stop() if stop is None else stop
    engine = engine or Here(Work(model, job, place.shelf), place.out)
    with opened(manifest, job, model, place, force):
        groups = groups_of(manifest.items, job)
        todo = left(groups, place.out, retry)
        tally, total = Tally(), len(manifest.items)
        have = total - sum(len(group.items) for group in todo)
        with closing(engine(todo, stop)) as made:
            for group in made:
                tally.made += len(group.items)
                if progress:
                    progress(have + tally.made, total)
        tally.stopped = bool(stop) and have + tally.made < total
        for group in groups:
            if done(place.out, group.name):
                tally.count(read_shard(shard(place.out, group.name)))
        shutil.rmtree(place.out / "tries", ignore_errors=True)
    tally.seconds = time.perf_counter() - start
    return tally


@dataclass(frozen=True)
class Here:
    """The engine of one process: this one, decoding the next group's images meanwhile."""

    work: Work
    out: Path

    def __call__(self, todo: Sequence[Group], stop: Stop) -> Generator[Group]:
        """Yields groups as they are done, until a stop is asked for."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.work.job.threads)
        try:
            with ThreadPoolExecutor(1) as ahead:
                coming = ahead.submit(load_group, todo[0]) if todo else None
                for index, group in enumerate(todo):
                    assert coming is not None
                    loaded = coming.result()
                    if index + 1 < len(todo):
                        coming = ahead.submit(load_group, todo[index + 1])
                    write_group(self.out, group.name, self.work.rows(group, loaded))
                    yield group
                    if stop:
                        return
        finally:
            torch.set_num_threads(before)


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


def summary_of(out: Path) -> Tally:
    """What a job's folder holds now."""
    tally = Tally()
    for row in read_rows(out):
        tally.count([row])
    return tally
