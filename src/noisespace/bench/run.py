"""Runs a benchmark: every case under every method, one row each, written as it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisespace.bench.cases import Case, checked, digest
from noisespace.bench.methods import Method, check_methods
from noisespace.bench.rows import Parts, Row, open_run, read_rows
from noisespace.bench.work import Loaded, Measure, Work, failed
from noisespace.errors import InputError, reason
from noisespace.models.base import Model
from noisespace.pictures.images import fitted_size
from noisespace.planning.result import model_record
from noisespace.system.files import alone
from noisespace.version import VERSION

Progress = Callable[[int, int], None]  # rows done, rows in all
Have = set[tuple[str, str]]  # (case, method) of the rows that are there


@dataclass(frozen=True)
class Plan:
    """How a benchmark runs.

    ``seed``: each case has its own under it; ``size``: the working size, as ``invert`` takes it;
    ``metrics``: the names of what is measured, told in bench.json. What follows makes no difference
    to what is measured: ``batch``, cases that run together; ``keep``, whether pictures are kept;
    ``rows`` and ``seconds``, how often a part is written; ``retry``, whether what failed before is
    tried again.
    """

    seed: int = 0
    size: int | tuple[int, int] | None = None
    metrics: tuple[str, ...] = ()
    batch: int = 8
    keep: bool = False
    rows: int = 64
    seconds: float = 60.0
    retry: bool = False


@dataclass(frozen=True)
class Done:
    """The rows that a folder holds after a run, and how many of them are of failures."""

    rows: int
    failed: int


def run_bench(
    model: Model,
    cases: Sequence[Case],
    methods: Sequence[Method],
    measure: Measure,
    out: str | Path,
    plan: Plan = Plan(),  # frozen
    progress: Progress | None = None,  # the seventh: whoever runs a benchmark has all these to say
) -> Done:
    """Edits every case by every method and measures the pictures; rows go to ``out``.

    ``measure(case, picture, mask)`` gives the metrics of an edited picture, uint8 (H, W, 3) of the
    case's own size; ``mask``: where an editor found that it may act, boolean (H, W), or None.

    A run that was stopped goes on where it was, and one that is done takes further methods: rows
    that ``out`` has are not made again. Whatever fails for one case is a row that says why. Ctrl-C
    writes what is done. Raises InputError, before
    any network runs, for methods that the model cannot run, for an ``out`` of another run, and
    while another process works in it.
    """
    out, cases = Path(out), checked(cases, "the benchmark")
    if plan.batch < 1:
        raise InputError(f"batch must be a whole number from 1 on, got {plan.batch!r}")
    check_methods(model, methods, cases, plan.size)
    open_run(out, about(model, cases, methods, plan))
    with alone(out / "rows"):
        work = Work(model, measure, plan.seed, plan.size, out if plan.keep else None)
        make_rows(work, cases, methods, out, plan, progress)
    found = read_rows(out)
    return Done(len(found), sum(row["status"] != "ok" for row in found))


def make_rows(
    work: Work,
    cases: Sequence[Case],
    methods: Sequence[Method],
    out: Path,
    plan: Plan,
    progress: Progress | None,
) -> None:
    """Makes the rows that ``out`` lacks."""
    names = {method.name for method in methods}
    known = [row for row in read_rows(out) if row["status"] == "ok" or not plan.retry]
    have: Have = {(row["id"], row["method"]) for row in known if row["method"] in names}
    total, done, groups = len(cases) * len(methods), len(have), sharing(methods)
    parts = Parts(out / "rows", plan.rows, plan.seconds)
    try:
        for batch in batches(work.model, cases, plan):
            for rows in batch_rows(work, groups, batch, have):
                parts.add(rows)
                done += len(rows)
                if progress:
                    progress(done, total)
    finally:  # Ctrl-C too
        parts.flush()


def about(
    model: Model, cases: Sequence[Case], methods: Sequence[Method], plan: Plan
) -> dict[str, Any]:
    """What rows depend on, as bench.json has it."""
    return {
        "noisespace": VERSION,
        "model": model_record(model),
        "data": {"cases": len(cases), "digest": digest(cases)},
        "methods": [method.described() for method in methods],
        "seed": plan.seed,
        "size": plan.size,
        "metrics": list(plan.metrics),
    }


def sharing(methods: Sequence[Method]) -> list[list[Method]]:
    """Methods by inversion: those of one group differ only in what comes after it."""
    groups: dict[str, list[Method]] = {}
    for method in methods:
        groups.setdefault(method.shared, []).append(method)
    return list(groups.values())


def batches(model: Model, cases: Sequence[Case], plan: Plan) -> Iterator[list[Case]]:
    """Cases that come to one size on the model, ``plan.batch`` at a time.

    They do not depend on what is done already, so that a run that goes on has the same ones.
    """
    waiting: dict[tuple[int, int] | None, list[Case]] = {}
    for case in cases:
        try:
            own = case.size()
            size = fitted_size(own, plan.size, target=model.resolution, multiple=model.multiple)
        except InputError:
            size = None  # its rows will say what is wrong with it
        some = waiting.setdefault(size, [])
        some.append(case)
        if len(some) >= plan.batch:
            yield waiting.pop(size)
    yield from waiting.values()


def batch_rows(
    work: Work, groups: Sequence[Sequence[Method]], batch: Sequence[Case], have: Have
) -> Iterator[list[Row]]:
    """The rows of a batch that are not there yet, as they are made."""
    jobs = [job for group in groups for job in missing(group, batch, have)]
    wanted = {case.id: case for _, cases in jobs for case in cases}
    seen = {name: read(case) for name, case in wanted.items()}
    for methods, cases in jobs:
        whole = []
        for case in cases:
            found = seen[case.id]
            if isinstance(found, Loaded):
                whole.append(found)
            else:
                yield [failed(work.seed, method, case, found) for method in methods]
        if whole:
            yield from work.rows(methods, whole)


def missing(
    group: Sequence[Method], batch: Sequence[Case], have: Have
) -> Iterator[tuple[list[Method], list[Case]]]:
    """Methods that share an inversion, with the cases of a batch whose rows they lack.

    Mostly it is one pair, all of both; a run that was stopped may lack some cases of some methods.
    """
    lacking: dict[tuple[str, ...], list[Method]] = {}
    for method in group:
        ids = tuple(case.id for case in batch if (case.id, method.name) not in have)
        if ids:
            lacking.setdefault(ids, []).append(method)
    for ids, methods in lacking.items():
        cases = [case for case in batch if case.id in ids]
        if any(method.alone for method in group):
            yield from ((methods, [case]) for case in cases)
        else:
            yield methods, cases


def read(case: Case) -> Loaded | str:
    """A case with its pixels, or why it has none."""
    try:
        return Loaded(case, case.pixels())
    except Exception as error:  # a row says so, whatever it is
        return reason(error)
