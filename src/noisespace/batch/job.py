"""A job from its manifest to its summary: checked, run by an engine, resumed by its journal."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from noisespace.batch import records
from noisespace.batch.crew import Crew
from noisespace.batch.local import Order, in_process, worker_of
from noisespace.batch.manifest import Row, read_manifest
from noisespace.batch.page import write_summary
from noisespace.batch.places import Store, check_reach, scheme, store
from noisespace.batch.plan import Group, Settings, choice_of, digest, groups_of
from noisespace.batch.records import SPAN, Known, known
from noisespace.batch.specs import check_choice, parsed
from noisespace.batch.work import Task, Told
from noisespace.bench.metrics import find
from noisespace.errors import InputError
from noisespace.models.loading import load
from noisespace.result import model_record
from noisespace.version import VERSION

FORMAT = 1
JOB = "job.json"


@dataclass(frozen=True)
class Progress:
    """Rows in all, done (failed ones too) and failed; seconds and rows of this run."""

    total: int
    done: int
    failed: int
    seconds: float = 0.0
    fresh: int = 0

    @property
    def rate(self) -> float:
        """Rows a second of this run."""
        return self.fresh / self.seconds if self.seconds > 0 else 0.0

    @property
    def left(self) -> float | None:
        """Seconds to the end, None where nobody can tell."""
        return (self.total - self.done) / self.rate if self.rate else None


@dataclass(frozen=True)
class Outcome:
    """What a run leaves. ``stopped``: by Ctrl-C; ``halved``: groups that were short of memory."""

    progress: Progress
    stopped: bool = False
    halved: int = 0
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A manifest that was checked, in groups."""

    name: str
    rows: int
    groups: Sequence[Group]

    def places(self) -> set[str]:
        items = [item for group in self.groups for item in group.items]
        masks = {item.mask for item in items if item.mask}
        return {item.image for item in items} | masks


def planned(manifest: str, settings: Settings) -> Plan:
    """Reads and checks a manifest. ManifestError has all its faults; nothing has run by then."""

    def check(row: Row) -> None:
        parsed(choice_of(row, settings.choice))

    for name in settings.metrics:
        find(name)
    parsed(settings.choice)
    rows = read_manifest(manifest, check)
    return Plan(manifest, len(rows), groups_of(rows, settings))


def loaded(plan: Plan, order: Order) -> Any:
    """The model, on which every choice of the manifest was checked. InputError, with the line."""
    model = load(order.settings.model, order.settings.dtype, order.device)
    first: dict[Any, Group] = {}
    for group in plan.groups:
        first.setdefault(replace(group.choice, targets=1), group)
    for choice, group in first.items():
        try:
            check_choice(model, choice)
        except InputError as error:
            line = min(item.line for item in group.items)
            raise InputError(f"{plan.name}: line {line}: {error}") from None
    return model


def about(plan: Plan, settings: Settings, model: Any) -> dict[str, Any]:
    """What a job's results depend on, as job.json has it."""
    own = {k: v for k, v in asdict(settings).items() if k not in ("model", "dtype")}
    return {
        "format": FORMAT,
        "noisespace": VERSION,
        "manifest": {"name": plan.name, "rows": plan.rows, "digest": digest(plan.groups)},
        "groups": len(plan.groups),
        "settings": own,
        "model": model_record(model),
    }


def open_job(place: Store, own: Mapping[str, Any], force: bool) -> None:
    """Makes a job's folder or goes on with the one that is there.

    InputError where that is another job's, or no job's. ``force`` begins anew: old records go.
    """
    own = json.loads(json.dumps(own))  # as it will be read
    found = read_job(place)
    if found is not None and not force:
        for key in ("format", "settings", "model", "manifest"):
            before, now = pared(found.get(key)), pared(own[key])
            if before != now:
                raise InputError(
                    f"{place.name}: holds a job of another {key} ({told(before, now)}); name "
                    "another folder, or begin anew with --force"
                )
    elif found is None and [n for n in place.list("") if n not in ("lock", ".lock")] and not force:
        raise InputError(f"{place.name}: holds other files and no job; name another folder")
    if found is not None and force:
        for name in records.files(place):
            place.remove(f"{records.FOLDER}/{name}")
    if found is None or force:
        place.put(JOB, json.dumps(own, indent=2, sort_keys=True).encode())


def pared(value: Any) -> Any:
    """What two runs of one job have in common: the manifest may have been moved."""
    return {k: v for k, v in value.items() if k != "name"} if isinstance(value, dict) else value


def told(before: Any, now: Any) -> str:
    """The first difference of two settings, in words."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return f"{before!r}, now {now!r}"
    keys = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))
    return f"{keys[0]} was {str(before.get(keys[0]))[:80]}, now {str(now.get(keys[0]))[:80]}"


def read_job(place: Store) -> dict[str, Any] | None:
    """job.json, None where there is none. InputError for a damaged one."""
    data = place.get(JOB)
    if data is None:
        return None
    try:
        found = json.loads(data)
        if not isinstance(found, dict) or not isinstance(found.get("manifest"), dict):
            raise ValueError
        return found
    except ValueError:
        raise InputError(f"{place.name}/{JOB}: is damaged; name another folder") from None


def run_job(
    plan: Plan,
    order: Order,
    engine: str = "local",
    *,
    force: bool = False,
    retry: bool = False,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> Outcome:
    """Runs what a job's folder lacks, and writes its dead letters and summary.

    ``retry``: rows that failed before are tried again. Raises InputError before any network runs;
    StoreError where outputs cannot be written: what is done by then stays done.
    """
    check_reach(plan.places())
    place = store(order.out)
    model = loaded(plan, order)
    with place.alone(), stopping() as stopped:
        open_job(place, about(plan, order.settings, model), force)
        before = known(place)
        tasks = list(tasks_of(plan.groups, before, retry))
        run = running(engine, order, model, tasks, stopped)
        del model  # processes have their own
        last, halved = followed(run, place, plan, before, tell)
        records.compact(place, len(plan.groups))
        after = known(place)
        done = replace(last, done=after.done, failed=after.failures)
        files = (
            write_summary(place, done.total) if last.fresh or not place.has("summary.html") else ()
        )
        return Outcome(done, done.done < done.total, halved, tuple(files))


def running(
    engine: str, order: Order, model: Any, tasks: list[Task], stopped: Callable[[], bool]
) -> Iterator[Told]:
    """The engine at work on the tasks."""
    if not tasks:
        return iter(())
    if engine == "ray":
        from noisespace.batch.ray_engine import on_ray

        return on_ray(order, tasks, stopped)
    workers = min(order.workers, len(tasks))
    if workers == 1:
        return in_process(worker_of(order, model=model), tasks, stopped)
    return Crew(replace(order, workers=workers), tasks, stopped).run()


def tasks_of(groups: Sequence[Group], before: Known, retry: bool) -> Iterator[Task]:
    """What is left to do, in the plan's order."""
    for group in groups:
        attempt = before.attempts.get(group.index, 0)
        if not attempt:
            yield Task(group)
        elif retry and (names := before.failed.get(group.index)):
            yield Task(group, attempt + 1, frozenset(names))


def followed(
    run: Iterator[Told],
    place: Store,
    plan: Plan,
    before: Known,
    tell: Callable[[Progress], None],
) -> tuple[Progress, int]:
    """Counts what an engine finishes, tells it, and puts parts together as spans fill."""
    start, halved = time.monotonic(), 0
    now = Progress(plan.rows, before.done, before.failures)
    spans: dict[int, int] = {}
    for group in before.attempts:
        spans[group // SPAN] = spans.get(group // SPAN, 0) + 1
    tell(now)
    for one in run:
        first = one.group not in before.attempts
        seconds, fresh = time.monotonic() - start, now.fresh + one.rows
        again = 0 if first else one.rows  # they were failures before
        now = Progress(
            plan.rows, now.done + one.rows - again, now.failed + one.failed - again, seconds, fresh
        )
        halved += one.halved
        tell(now)
        span = one.group // SPAN
        spans[span] = spans.get(span, 0) + first
        if first and spans[span] == min(SPAN, len(plan.groups) - span * SPAN):
            records.compact(place, len(plan.groups))
    return now, halved


def status(out: str) -> dict[str, Any]:
    """How far the job in a folder is, from its journal alone: also while it runs."""
    place = store(out)
    found = read_job(place)
    if found is None:
        raise InputError(f"{out}: holds no job (no {JOB}); expected the --out of a batch")
    have, total = known(place), int(found["manifest"].get("rows", 0))
    counts = {"rows": total, "done": have.done, "failed": have.failures}
    counts |= {"left": total - have.done, "seconds_of_work": round(have.seconds, 3)}
    return {
        "out": out,
        "remote": bool(scheme(out)),
        **counts,
        "manifest": found["manifest"]["name"],
    }


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
