"""What a study found, and how it is written: numbers, the raw rows, figures."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from noisespace.study import STUDIES
from noisespace.study.measure import Row
from noisespace.study.style import rendered
from noisespace.system.files import write_bytes, write_json


@dataclass(frozen=True)
class Finding:
    """``numbers``: the summary as JSON, with its "n" and its "claims"; ``rows``: what was measured.

    Claims are as ``noisespace.study.claims.claim`` gives them, in a list. ``figures``: by name,
    drawn on matplotlib's Agg canvas.
    """

    name: str
    title: str
    numbers: Row
    rows: list[Row]
    figures: Mapping[str, Figure] = field(default_factory=dict)

    @property
    def question(self) -> str:
        """What was asked, one sentence."""
        return STUDIES[self.name]


def lines(finding: Finding) -> list[str]:
    """Every claim of a finding as one line of text."""
    return [
        f"{finding.name}: {' '.join(filter(None, (one['id'], one['part'])))} {one['verdict']} "
        f"(n = {one['n']}): {one['words']}"
        for one in finding.numbers.get("claims", [])
    ]


def save(finding: Finding, out: str | Path, *, force: bool = False) -> list[Path]:
    """Writes OUT/NAME/{FIGURE.png, FIGURE.svg, rows.csv, numbers.json}, each whole or not at all.

    Returns what was written. Overwrites only with ``force``; numbers.json comes last, so that
    where it is the others are too.
    """
    folder, written = Path(out) / finding.name, []
    for name, figure in finding.figures.items():
        for kind in ("png", "svg"):
            written.append(folder / f"{name}.{kind}")
            write_bytes(written[-1], rendered(figure, kind), force=force)
    written.append(folder / "rows.csv")
    write_bytes(written[-1], table(finding.rows).encode(), force=force)
    about = {"study": finding.name, "title": finding.title, "question": finding.question}
    written.append(folder / "numbers.json")
    write_json(written[-1], plain({**about, **finding.numbers}), force=force)
    return written


def plain(value: Any) -> Any:
    """A value as JSON knows it: numpy's numbers as Python's, what is not finite as None."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def table(rows: Iterable[Row]) -> str:
    """Rows as CSV, their columns in the order in which they first come."""
    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([cell(name) for name in columns])
    writer.writerows([cell(row.get(name)) for name in columns] for row in rows)
    return file.getvalue()


def cell(value: Any) -> str:
    """A value as a cell that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return json.dumps(plain(value)) if plain(value) is not None else ""
    return (
        f"'{value}" if value.lstrip()[:1] in ("=", "+", "-", "@") and not number(value) else value
    )


def number(text: str) -> bool:
    """Whether a text is a number, which may begin with a sign."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
