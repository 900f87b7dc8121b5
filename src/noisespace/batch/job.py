"""A job from its manifest to its summary: checked, run by an engine, resumed by its journal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from noisespace.batch import records
from noisespace.batch.crew import Crew
from noisespace.batch.local import Order, in_process, worker_of
from noisespace.batch.manifest import Row, read_manifest
from noisespace.batch.opened import JOB, about, open_job, read_job
from noisespace.batch.page import write_summary
from noisespace.batch.places import check_reach, scheme
from noisespace.batch.plan import Group, Plan, Settings, choice_of, groups_of
from noisespace.batch.records import SPAN, Known, known
from noisespace.batch.specs import check_choice, parsed
from noisespace.batch.stopping import stopping
from noisespace.batch.stores import Store, store
from noisespace.batch.work import Task, Told
from noisespace.bench.metrics import find
from noisespace.errors import InputError


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
    model = order.settings.load(order.device)
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
