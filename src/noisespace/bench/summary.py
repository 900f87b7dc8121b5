"""What the rows of a benchmark say: means with intervals, and every method against one."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from noisespace.bench.rows import COLUMNS
from noisespace.bench.scoring import Column, columns, number
from noisespace.bench.statistics import (
    Estimate,
    PValue,
    WinRate,
    difference,
    holm,
    mean,
    sign_flip,
    win_rate,
)
from noisespace.errors import InputError
from noisespace.system.files import write_bytes, write_json

Rows = Sequence[dict[str, Any]]
COSTS = {
    "seconds": Column("seconds", "s", "down", against="one edit, inversion and all"),
    "evaluations": Column("evaluations", "network calls", "down", against="one edit"),
    "memory_mb": Column(
        "memory_mb", "MB", "down", against="the peak of its batch, over what was held before"
    ),
}
MAIN = ("psnr_truth", "as_asked", "other_kept", "alignment_accuracy", "clip", "lpips_alex")
MAIN += ("psnr_outside", "seconds")


@dataclass(frozen=True)
class Against:
    """A method's difference to the one that it is compared with, paired by case."""

    difference: Estimate
    p: PValue
    adjusted: float  # Holm's, over the methods
    wins: WinRate


@dataclass(frozen=True)
class Summary:
    """Of each method: cases, failures, and by column its mean and what it has over ``than``.

    ``unavailable``: columns that were asked for and could not be had, and how to get them.
    """

    columns: dict[str, Column]
    methods: dict[str, dict[str, Estimate]]
    failed: dict[str, dict[str, int]]  # reasons and how often
    than: str
    against: dict[str, dict[str, Against]]
    unavailable: Mapping[str, str] = field(default_factory=dict)


def summarise(
    rows: Rows, than: str | None = None, unavailable: Mapping[str, str] | None = None
) -> Summary:
    """Means over all cases of each method, and paired comparisons with ``than`` (the first)."""
    if not rows:
        raise InputError("the benchmark has no rows yet: nothing to sum up")
    order = list(dict.fromkeys(str(row["method"]) for row in rows))
    than = than or order[0]
    if than not in order:
        raise InputError(f"got {than!r} to compare with, expected one of {', '.join(order)}")
    rows = [costed(row) for row in rows]
    names = [key for key in dict.fromkeys(k for row in rows for k in row) if key not in COLUMNS]
    told = {**columns(names), **COSTS}
    by = {m: {r["id"]: r for r in rows if r["method"] == m} for m in order}
    means = {m: {c: mean(values(by[m], by[m], c)) for c in told} for m in order}
    failed: dict[str, dict[str, int]] = {}
    for row in rows:
        if row["status"] != "ok":
            reasons = failed.setdefault(row["method"], {})
            reasons[row["reason"]] = reasons.get(row["reason"], 0) + 1
    known = {name: why for name, why in (unavailable or {}).items() if name in told}
    return Summary(told, means, failed, than, compared(by, told, than), known)


def costed(row: dict[str, Any]) -> dict[str, Any]:
    """A row with the whole cost of its edit."""
    whole = {}
    for name in ("seconds", "evaluations"):
        parts = [row.get(f"{name}_inversion"), row.get(f"{name}_edit")]
        whole[name] = None if parts[1] is None else sum(p or 0.0 for p in parts)
    return {**row, **whole}


def values(some: dict[str, dict], ids: Sequence[str] | dict[str, Any], column: str) -> list[float]:
    """A column of the rows of some cases, NaN where there is none."""
    return [number(some[i].get(column)) if i in some else math.nan for i in ids]


def compared(
    by: dict[str, dict[str, dict]], told: dict[str, Column], than: str
) -> dict[str, dict[str, Against]]:
    """Every other method against ``than``, by column; p values adjusted over the methods."""
    others = [method for method in by if method != than]
    found: dict[str, dict[str, Against]] = {method: {} for method in others}
    ids = list(dict.fromkeys(i for rows in by.values() for i in rows))
    for name, column in told.items():
        base = values(by[than], ids, name)
        tests = [sign_flip(values(by[m], ids, name), base) for m in others]
        adjusted = holm([test.p for test in tests])
        for method, test, p in zip(others, tests, adjusted, strict=True):
            own = values(by[method], ids, name)
            wins = win_rate(own, base, cast(Any, column.better))
            found[method][name] = Against(difference(own, base), test, p, wins)
    return found


def write_summary(summary: Summary, out: Path) -> list[Path]:
    """OUT/summary.json, .csv and .md, each whole or not at all."""
    paths = [out / f"summary.{kind}" for kind in ("json", "csv", "md")]
    write_json(paths[0], finite(asdict(summary)), force=True)
    write_bytes(paths[1], table_csv(summary).encode(), force=True)
    write_bytes(paths[2], table_markdown(summary).encode(), force=True)
    return paths


def finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null and a word."""
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("infinite" if value > 0 else "-infinite")
    return value


def table_csv(summary: Summary) -> str:
    """One line a method and column."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    head = ["method", "column", "unit", "better", "region", "against", "mean", "low", "high", "n"]
    table.writerow([*head, "nan", "infinite", "minus", "p_holm", "win_rate", "unavailable"])
    for method, found in summary.methods.items():
        for name, e in found.items():
            c, other = summary.columns[name], summary.against.get(method, {}).get(name)
            row = [guarded(method), name, c.unit, c.better, c.region, c.against]
            row += [e.mean, e.low, e.high, e.n, e.nan, e.infinite]
            row += [other.difference.mean, other.adjusted, other.wins.rate] if other else [""] * 3
            table.writerow([*row, summary.unavailable.get(name, "")])
    return text.getvalue()


def guarded(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in tuple("=+-@\t\r") else text


def measured(summary: Summary) -> list[str]:
    """The columns that have a value somewhere, and those that say why they have none."""
    found = [c for c in summary.columns if any(e[c].n for e in summary.methods.values())]
    return [c for c in summary.columns if c in found or c in summary.unavailable]


def table(summary: Summary, shown: Sequence[str]) -> str:
    """Methods by some columns: mean, interval, and how many values it is of where not of all."""
    lines = ["| method | " + " | ".join(shown) + " | failed |", "|---" * (len(shown) + 2) + "|"]
    for method, found in summary.methods.items():
        cells = [
            "unavailable" if name in summary.unavailable else cell(found[name]) for name in shown
        ]
        failed = sum(summary.failed.get(method, {}).values())
        lines.append(f"| {method} | " + " | ".join(cells) + f" | {failed or ''} |")
    return "\n".join(lines) + "\n"


def table_main(summary: Summary) -> str:
    """The table of the few columns that say most."""
    shown = measured(summary)
    return table(summary, [name for name in MAIN if name in shown])


def table_markdown(summary: Summary) -> str:
    """The table of all columns, and what each is."""
    shown = measured(summary)
    arrows = {"up": "higher is better", "down": "lower is better"}
    notes = [
        f"- `{c.name}`: {c.unit}, {c.region}, against {c.against}; {arrows[c.better]}"
        for c in (summary.columns[name] for name in shown)
    ]
    notes += [f"- `{name}` is unavailable: {why}" for name, why in summary.unavailable.items()]
    note = "Mean and 95 % bootstrap interval; (n) where it is not of all cases.\n"
    return table(summary, shown) + "\n" + note + "\n" + "\n".join(notes) + "\n"


def cell(e: Estimate) -> str:
    """A mean with its interval."""
    if not e.n:
        return ""
    if math.isinf(e.mean):
        return "infinite"
    wide = e.low < e.high  # neither NaN nor all values alike, such as shares of one batch's time
    half = f" [{e.low:.3g}, {e.high:.3g}]" if wide else ""
    return f"{e.mean:.3g}{half}" + (f" ({e.n})" if e.nan else "")
