"""The report's benchmark: every method over its own knob, on scenes whose true edits are known.

No method stands at one setting only: a family is a method with the knob that trades its structure
against the target, and families are compared where both have the same structure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noisespace.bench.cases import Case
from noisespace.bench.judges import Judges
from noisespace.bench.methods import parse_lines
from noisespace.bench.readers import read_cases
from noisespace.bench.rows import read_rows
from noisespace.bench.run import Plan, Progress, run_bench
from noisespace.bench.scoring import Scoring
from noisespace.bench.summary import Summary, summarise
from noisespace.bench.tradeoff import Area, Curve, area
from noisespace.models.base import Model
from noisespace.report.order import Order

METRICS = ("lpips_alex", "psnr_outside", "ssim", "psnr", "alignment", "alignment_accuracy")
BASE = "edit-friendly"  # the family that others are compared with
P2P = "prompt-to-prompt"


@dataclass(frozen=True)
class Family:
    """A method, what is turned in it, to which settings, and the line of each."""

    name: str
    knob: str
    settings: tuple[str, ...]
    lines: tuple[str, ...]

    def at(self, places: Sequence[int]) -> Family:
        """The family at some of its settings."""
        own = (tuple(part[i] for i in places) for part in (self.settings, self.lines))
        return Family(self.name, self.knob, *own)


def turned(name: str, knob: str, line: str, *settings: str) -> Family:
    """A family whose lines are ``line`` with each setting put in."""
    return Family(name, knob, settings, tuple(line.format(setting) for setting in settings))


NOTHING = turned("no edit", "", "{}", "nothing", "autoencoder")
WEIGHTS = ("1.5", "3", "5")
FAMILIES = (
    turned("edit-friendly", "skip", "edit-friendly:skip={}", ".05", ".2", ".36", ".5"),
    turned(
        f"edit-friendly + {P2P}",
        "skip",
        f"edit-friendly:skip={{}} + {P2P}:cross=.6,self=.2",
        *(".05", ".2", ".36"),
    ),
    turned("cycle-diffusion", "skip", "cycle-diffusion:skip={}", ".1", ".3", ".5"),
    turned("sdedit", "strength", "sdedit:strength={}", ".4", ".6", ".8"),
    turned("ddim", "guidance", "ddim @ guidance={}", "1", *WEIGHTS),
    turned(f"ddim + {P2P}", "guidance", f"ddim + {P2P} @ guidance={{}}", *WEIGHTS),
    turned("ddim + plug-and-play", "guidance", "ddim + plug-and-play @ guidance={}", *WEIGHTS),
    turned("ddim + masactrl", "guidance", "ddim + masactrl @ guidance={}", *WEIGHTS),
    turned(
        f"negative-prompt + {P2P}", "guidance", f"negative-prompt + {P2P} @ guidance={{}}", *WEIGHTS
    ),
    turned(f"direct + {P2P}", "guidance", f"direct + {P2P} @ guidance={{}}", *WEIGHTS),
    turned(
        f"null-text + {P2P}",
        "cross",
        f"null-text:guidance=3 + {P2P}:cross={{}}",
        *(".8", ".5", ".2"),
    ),
    turned(f"edict + {P2P}", "guidance", f"edict + {P2P} @ guidance={{}}", *WEIGHTS),
)

QUICK = ("edit-friendly", f"edit-friendly + {P2P}", "cycle-diffusion", "sdedit", f"ddim + {P2P}")
QUICK += ("ddim",)


@dataclass(frozen=True)
class Axes:
    """Structure that is held equal and target that is compared: columns of the rows."""

    name: str
    structure: str
    target: str


AXES = (
    Axes("lpips-alignment", "lpips_alex", "alignment"),
    Axes("outside-asked", "psnr_outside", "as_asked"),
)


@dataclass(frozen=True)
class Compared:
    """What the benchmark found: rows, the summary of every line, the base less each family."""

    rows: list[dict[str, Any]]
    cases: list[Case]
    summary: Summary
    families: tuple[Family, ...]
    areas: dict[str, dict[str, Area]]  # by axes and family
    missing: dict[str, str]  # metrics that cannot be had, and why


def families(quick: bool) -> tuple[Family, ...]:
    """The families of a whole report; a quick one has a few of them, at three settings."""
    if not quick:
        return FAMILIES
    return tuple(f.at((0, 1, -1)) for f in FAMILIES if f.name in QUICK)


def compare(model: Model, order: Order, out: Path, tell: Progress | None = None) -> Compared:
    """Runs the benchmark in ``out``, or goes on with it."""
    chosen = families(order.quick)
    lines = [line for family in (NOTHING, *chosen) for line in family.lines]
    cases = read_cases("scenes", order.cases, order.seed)
    scoring = Scoring(METRICS, Judges(alignment=order.model, device=str(model.device)))
    plan = Plan(seed=order.seed, metrics=METRICS, batch=10, keep=True)
    run_bench(model, cases, parse_lines(lines), scoring, out, plan, tell)
    rows = read_rows(out)
    missing = scoring.missing(cases[0])
    summary = summarise(rows, chosen[0].lines[1], missing)
    areas = {axes.name: compared(rows, chosen, axes) for axes in AXES}
    return Compared(rows, cases, summary, chosen, areas, missing)


def compared(rows: list[dict], chosen: Sequence[Family], axes: Axes) -> dict[str, Area]:
    """The base's target less each other family's at equal structure."""
    base = next(family for family in chosen if family.name == BASE)
    found = {}
    for family in chosen:
        if family is base:
            continue
        one, other = curve(rows, base, axes), curve(rows, family, axes)
        if one is not None and other is not None:
            found[family.name] = area(one, other)
    return found


def curve(rows: list[dict], family: Family, axes: Axes) -> Curve | None:
    """A family's curve, (cases, settings) each way; None where a column was not measured."""
    ids = sorted({row["id"] for row in rows})
    tables = []
    for column in (axes.structure, axes.target):
        by = {(row["id"], row["method"]): row.get(column) for row in rows}
        values = [[by.get((i, line)) for line in family.lines] for i in ids]
        tables.append(np.array(values, dtype=float))  # None becomes NaN
    if any(np.isnan(table).all() for table in tables):
        return None
    return Curve(*tables)
