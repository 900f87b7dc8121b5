"""A job from its manifest to its summary: checked, run by an engine, resumed by its journal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from noisespace.batch import records
from noisespace.batch.crew import Crew
from noisespace.batch.local import Order, in_process, worker_of
from noisespace.batch.manifest import ManifestError, Row, read_manifest
from noisespace.batch.opened import JOB, PAGES, about, check_folder, open_job, read_job
from noisespace.batch.page import templates, write_summary
from noisespace.batch.places import Held, check_reach, scheme
from noisespace.batch.plan import Group, Plan, Settings, choice_of, groups_of
from noisespace.batch.progress import Progress, followed
from noisespace.batch.records import Known, known
from noisespace.batch.specs import check_choice, parsed
from noisespace.batch.stopping import stopping
from noisespace.batch.stores import Store, StoreError, store
from noisespace.batch.work import Task, Told
from noisespace.bench.metrics import find
from noisespace.core.batching import release_memory
from noisespace.errors import InputError
from noisespace.models.loading import where
from noisespace.system.workers import expect_workers


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
    """The model, on which every choice of the manifest was checked.

    Raises ManifestError with all the faults and their first lines.
    """
    model = order.settings.load(order.device)
    first: dict[Any, Group] = {}
    for group in plan.groups:
        first.setdefault(replace(group.choice, targets=1), group)
    faults: dict[int, str] = {}
    for choice, group in first.items():
        try:
            check_choice(model, choice)
        except InputError as error:
            line = min(item.line for item in group.items)
            faults[line] = f"line {line}: {error}"
    if faults:
        raise ManifestError(plan.name, [faults[line] for line in sorted(faults)])
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
    templates()  # what is missing is said before anything runs
    check_reach(plan.places())
    place = store(order.out)
    if engine == "local" and min(order.workers, len(plan.groups)) > 1:
        expect_workers(where(order.device).type)
    model = loaded(plan, order)
    own = about(plan, order.settings, model)
    with ExitStack() as stack:
        with refusing():
            check_folder(place, own, force)  # before it is held, which makes a file in it
            held = stack.enter_context(place.alone())
            open_job(place, own, force)
            before = known(place)
        stopped = stack.enter_context(stopping())
        tasks = list(tasks_of(plan.groups, before, retry))
        if tasks:  # its pages tell of less than there will be: a stop in between must show
            for name in PAGES:
                place.remove(name)
        run = running(engine, order, model, tasks, lambda: stopped() or not held())
        del model  # processes have their own
        release_memory()  # its memory is for them
        stack.callback(tidied, place, held)
        goal = sum(task.rows for task in tasks)
        last, halved = followed(run, place, plan, before, goal, tell)
        if not held():
            raise StoreError(f"{place.name}: another job has taken this folder: this one stops")
        records.compact(place, len(plan.groups))
        after = known(place)
        done = replace(last, done=after.done, failed=after.failures)
        files = write_summary(place, done.total) if tasks or not place.has(PAGES[0]) else ()
        return Outcome(done, last.fresh < goal, halved, tuple(files))


def tidied(place: Store, held: Held) -> None:
    """Removes what a worker that was ended left half-written."""
    with suppress(StoreError, OSError):
        if held():
            place.tidy()


@contextmanager
def refusing() -> Iterator[None]:
    """Before anything runs, a store that fails is bad input."""
    try:
        yield
    except StoreError as error:
        raise InputError(str(error)) from None


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
    # a GPU that is lost is so for its whole process: then it is not this one
    if workers == 1 and where(order.device).type != "cuda":
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


def status(out: str) -> dict[str, Any]:
    """How far the job in a folder is, from its journal alone: also while it runs."""
    place = store(out)
    with refusing():
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
