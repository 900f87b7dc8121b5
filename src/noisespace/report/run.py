"""Makes a report: studies, the benchmark, verdicts, one page; goes on where it was stopped."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from noisespace.bench.summary import write_summary
from noisespace.errors import InputError, reason
from noisespace.models.base import Model
from noisespace.report.claims import Verdict, studies_of, verdicts
from noisespace.report.drawn import draw_axes, draw_gallery
from noisespace.report.environment import environment
from noisespace.report.methods import AXES, Compared, compare
from noisespace.report.order import Order, Seconds
from noisespace.report.workers import side_by_side
from noisespace.study import load
from noisespace.study.budget import Budget
from noisespace.study.finding import plain, save
from noisespace.study.kept import Kept
from noisespace.study.style import rendered
from noisespace.system.files import alone, write_bytes, write_json
from noisespace.version import VERSION

Tell = Callable[..., None]
Telling = Callable[[str], AbstractContextManager[Any]]  # a task's name -> progress of it


@dataclass(frozen=True)
class Report:
    """What was found: verdicts, each study's numbers and figures, the benchmark, and the setting.

    ``figures``: by study, the names of its figures under OUT/studies/STUDY; ``failed``: by study
    or "benchmark", why it gave nothing; ``seconds``: what each took, on one core or more.
    """

    order: Order
    verdicts: list[Verdict]
    numbers: dict[str, dict[str, Any]]
    figures: dict[str, list[str]]
    compared: Compared | None
    failed: dict[str, str]
    seconds: dict[str, float]
    setting: dict[str, Any]


@dataclass
class Found:
    """What the studies gave so far."""

    numbers: dict[str, dict[str, Any]] = field(default_factory=dict)
    figures: dict[str, list[str]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    compared: Compared | None = None


BENCHMARK = "benchmark"  # its name among the tasks
ALONE = ("times",)  # what nothing may run beside
# About what each task takes of a report's time, in minutes of one core: the long ones begin first
MINUTES = {BENCHMARK: 20.0, "reconstruction": 18.0, "trade-off": 15.0, "null-text": 15.0}
MINUTES |= {"editors": 11.0, "premises": 7.0, "captions": 6.0, "skip-guidance": 5.0}


def make_report(
    model: Model,
    order: Order,
    out: str | Path,
    telling: Telling = lambda _: nullcontext(),
    jobs: int = 1,
) -> Report:
    """Measures all that ``order`` asks for and writes OUT/index.html, claims.json, claims.csv.

    Work is kept in OUT/work, so that the same order goes on where it was stopped. A study that
    fails leaves its claims undecided, with the reason. ``jobs``: processes that measure side by
    side, each with the model that ``order`` names; the studies of seconds run alone. Raises
    InputError for an ``out`` that holds something else, or a report of another order.
    """
    out = Path(out)
    check_folder(out, model, order)
    with alone(out / "work"):
        write_json(out / "work" / "order.json", about(model, order), force=True)
        found = Found()
        if jobs > 1:
            beside(order, out, jobs, telling)
        for name in studies_of(order.claims):
            with telling(name) as tell:
                one_study(name, model, order, out, found, tell)
        if order.whole:
            with telling(BENCHMARK) as tell:
                benchmark(model, order, out, found, tell)
        report = Report(
            order,
            verdicts(order.claims, found.numbers, found.failed, found.seconds),
            found.numbers,
            found.figures,
            found.compared,
            found.failed,
            found.seconds,
            environment(model),
        )
        write(report, out)
    return report


def beside(order: Order, out: Path, jobs: int, telling: Telling) -> None:
    """Measures in several processes what may run side by side; rows are in OUT/work then."""
    names = [name for name in tasks(order) if name not in ALONE]
    names.sort(key=lambda name: -MINUTES.get(name, 1.0))
    cost = {name: MINUTES.get(name, 1.0) for name in names}
    done = dict.fromkeys(names, 0.0)
    with telling(f"{len(names)} tasks in {jobs} processes") as tell:

        def share(name: str, part: float) -> None:
            done[name] = part * cost[name]
            if tell:
                tell(sum(done.values()), sum(cost.values()), f"{name} {part:.0%}")

        side_by_side(measure, names, order, out, jobs, share)


def tasks(order: Order) -> list[str]:
    """The studies of an order, and the benchmark where it is a whole one."""
    return [*studies_of(order.claims), *([BENCHMARK] if order.whole else [])]


def measure(
    name: str, model: Model, order: Order, out: Path, tell: Tell | None
) -> tuple[Any, float]:
    """A study's finding, or what the benchmark found, and the seconds that it took over all runs.

    Rows stay in OUT/work: none is measured twice.
    """
    where = out / "work" / name
    if name == BENCHMARK:
        return benched(model, order, where, tell)
    budget = Budget(order.images, order.quick, order.seed, tell=tell)
    kept = Kept(where, budget.head(name, model), resume=True)
    return load(name)(model, replace(budget, kept=kept)), kept.seconds


def benched(model: Model, order: Order, where: Path, tell: Tell | None) -> tuple[Compared, float]:
    """The benchmark, and its seconds."""
    clock = Seconds(where / "seconds.json")

    def moved(done: int, total: int) -> None:
        clock.tick()
        if tell:
            tell(done, total, "")

    return compare(model, order, where, moved), clock.spent


def about(model: Model, order: Order) -> dict[str, Any]:
    """What a report's work belongs to."""
    named = {"claims": list(order.claims), "quick": order.quick, "images": order.images}
    return {**named, "seed": order.seed, "model": model.fingerprint, "version": VERSION}


def check_folder(out: Path, model: Model, order: Order) -> None:
    """Refuses a folder of something else, and one of a report with other settings."""
    found = former(out)
    if found is None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"{out}: exists and holds no report; name another folder")
        return
    now = about(model, order)
    for key in now:
        if found.get(key) != now[key]:
            raise InputError(
                f"{out}: holds a report with {key} {found.get(key)}, now it is {now[key]}; name "
                "another folder, or begin anew with --force"
            )


def former(out: Path) -> dict[str, Any] | None:
    """What the report of a folder is about; None where there is none."""
    path = out / "work" / "order.json"
    if not path.exists():
        return None
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise InputError(f"{path}: is damaged; begin anew with --force") from None


def clear(out: Path) -> None:
    """Throws a report away, and nothing else that lies in its folder."""
    if (out / "work" / "order.json").exists() or (out / "report.json").exists():
        for name in ("work", "studies", "methods"):
            shutil.rmtree(out / name, ignore_errors=True)
        for name in ("index.html", "claims.json", "claims.csv", "report.json"):
            (out / name).unlink(missing_ok=True)


def one_study(
    name: str, model: Model, order: Order, out: Path, found: Found, tell: Tell | None
) -> None:
    """Runs a study and saves it; what it cannot do becomes a reason."""
    try:
        finding, found.seconds[name] = measure(name, model, order, out, tell)
    except Exception as error:  # a report of twenty claims does not die of one
        found.failed[name] = reason(error)
        return
    save(finding, out / "studies", force=True)
    found.numbers[name] = plain(finding.numbers)
    found.figures[name] = list(finding.figures)


def benchmark(model: Model, order: Order, out: Path, found: Found, tell: Tell | None) -> None:
    """Runs the benchmark; its failure leaves the report without a table."""
    try:
        made, found.seconds[BENCHMARK] = measure(BENCHMARK, model, order, out, tell)
        found.compared = made
        save_methods(made, out / "work" / BENCHMARK, out / "methods")
    except Exception as error:
        found.failed[BENCHMARK] = reason(error)


def save_methods(found: Compared, where: Path, out: Path) -> None:
    """The benchmark's summary, curves and gallery."""
    write_summary(found.summary, out)
    drawn = {axes.name: draw_axes(found, axes) for axes in AXES}
    drawn["gallery"] = draw_gallery(found, where)
    for name, made in drawn.items():
        if made is not None:
            for form in ("png", "svg"):
                write_bytes(out / f"{name}.{form}", rendered(made, form), force=True)


def write(report: Report, out: Path) -> None:
    """Claims as JSON and CSV, then the page, each whole or not at all."""
    from noisespace.report.page import page

    records = [plain(verdict.record()) for verdict in report.verdicts]
    write_bytes(out / "claims.json", (json.dumps(records, indent=2) + "\n").encode(), force=True)
    write_bytes(out / "claims.csv", table(report.verdicts).encode(), force=True)
    write_json(out / "report.json", plain(told(report)), force=True)
    write_bytes(out / "index.html", page(report, out).encode(), force=True)


def told(report: Report) -> dict[str, Any]:
    """What stands beside the claims: command, setting, seconds, what failed."""
    return {
        "command": report.order.command(),
        "seed": report.order.seed,
        "setting": report.setting,
        "seconds": report.seconds,
        "failed": report.failed,
    }


def table(found: list[Verdict]) -> str:
    """Claims as CSV."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["id", "verdict", "n", "seconds", "claim", "rule", "figures"])
    for one in found:
        lines.writerow([one.id, one.verdict, one.n, one.seconds, one.claim, one.rule, one.words])
    return text.getvalue()
