"""What skip and guidance of edit-friendly edits trade against each other (claim C16)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from noisespace.inversion import EditFriendly
from noisespace.study.budget import Budget, Task
from noisespace.study.claims import ENOUGH, Check, claim, exact
from noisespace.study.edited import pictures_at
from noisespace.study.finding import Finding
from noisespace.study.kept import Kept
from noisespace.study.measure import Row, by_image, mean, summary, values, where
from noisespace.study.style import Tile, dress, figure, heat_map, mosaic
from noisespace.study.subjects import SceneEdit, need_text, scene_edits, scores, seeds_of

EPS = 1e-9


@dataclass(frozen=True)
class Plan:
    """The grid: ``skips`` as shares of the ``steps``, ``weights`` of the guidance."""

    images: int = ENOUGH
    steps: int = 100
    skips: tuple[float, ...] = (0.0, 0.24, 0.36, 0.48, 0.6)
    weights: tuple[float, ...] = (1.0, 2.0, 3.5, 5.0, 7.5)


QUICK = Plan(4, 20, (0.0, 0.3, 0.6), (1.0, 2.0, 5.0))


def study(model: Any, budget: Budget) -> Finding:
    """Structure (outside the edit) and target (read by the judge) over the grid of both."""
    need_text(model, "skip-guidance")
    plan = budget.plan(Plan(), QUICK)
    edits = scene_edits(plan.images, f"skip and guidance {budget.seed}")
    tasks = []
    for skip in plan.skips:
        work = partial(measured, model, edits, skip, plan, budget)
        cost = plan.steps * (1 - skip) * plan.images * (2 * len(plan.weights) + 1)
        tasks.append(Task({"skip": skip, "steps": plan.steps}, cost, work))
    rows = budget.collect(tasks)
    numbers = {"n": plan.images, "steps": plan.steps, **summarise(rows)}
    figures = {"grids": draw(rows), "pictures": draw_pictures(budget.kept, edits[0], plan, rows)}
    return Finding("skip-guidance", "Skip against guidance", numbers, rows, figures)


def measured(
    model: Any, edits: list[SceneEdit], skip: float, plan: Plan, budget: Budget
) -> list[Row]:
    """One row of the grid: the same inversion at every guidance."""
    seeds, rows = seeds_of(budget.seed, len(edits)), []
    found = pictures_at(model, edits, EditFriendly(skip), seeds, plan.weights, plan.steps)
    for w, pictures in zip(plan.weights, found, strict=True):
        for i, row in enumerate(scores(model, edits, pictures)):
            rows.append({"guidance": w, "image": i, **row})
            budget.kept.keep(f"{skip:g} {w:g} {i}", pictures[i])
    return rows


def grid(rows: list[Row], key: str) -> tuple[np.ndarray, list[float], list[float]]:
    """Means over the images, (skips, guidances), and the ends."""
    skips, weights = (sorted({r[k] for r in rows}) for k in ("skip", "guidance"))
    table = [[mean(rows, key, skip=s, guidance=w) for w in weights] for s in skips]
    return np.array(table), skips, weights


def summarise(rows: list[Row]) -> Row:
    """The grids as lists, and claim C16."""
    numbers: Row = {"lpips": "measured" if values(rows, "lpips") else "unavailable"}
    for key in ("outside", "truth", "asked", "lpips"):
        table, numbers["skips"], numbers["guidances"] = grid(rows, key)
        if not np.isnan(table).all():
            numbers[f"{key} by skip and guidance"] = table.tolist()
    best, skips, weights = grid(rows, "truth")
    i, j = np.unravel_index(int(best.argmax()), best.shape)
    numbers["nearest to the true edit"] = {"skip": skips[i], "guidance": weights[j]}
    numbers["claims"] = [monotone(rows)]
    return numbers


# what must move which way from one setting to the next
TRENDS = (
    ("structure", "outside", "skip", 1, "dB"),
    ("structure", "outside", "guidance", -1, "dB"),
    ("target", "asked", "skip", -1, ""),
    ("target", "asked", "guidance", 1, ""),
)


def monotone(rows: list[Row]) -> Row:
    """C16: more skip means more of the input and less of the target, more guidance the reverse.

    Two kinds of checks: from end to end of the knob the figure moves the right way; and between no
    two neighbours does it move the wrong way by more than chance.
    """
    checks = []
    for name, key, knob, sign, unit in TRENDS:
        ends = sorted({r[knob] for r in rows})
        word = "rises" if sign > 0 else "falls"
        found = moved(rows, key, knob, ends[0], ends[-1], sign)
        checks.append(Check(f"{name} {word} with {knob}, by", found, above=0, unit=unit))
        steps = [moved(rows, key, knob, a, b, sign) for a, b in pairwise(ends)]
        # a step is wrong where its whole interval is: the largest such end is what is checked
        worst = max((-step["high"] for step in steps), default=-np.inf)
        against = exact(max(0.0, float(worst)), found["n"])
        wrong = f"{name} moves against {knob} for certain, by"
        checks.append(Check(wrong, against, below=EPS, unit=unit))
    n = len({r["image"] for r in rows})
    return claim("C16", checks, n, least=ENOUGH, rule="means over the other knob, paired by image")


def moved(rows: list[Row], key: str, knob: str, first: float, last: float, sign: int) -> Row:
    """How much a figure moves the asked way from one setting of a knob to another."""
    a, b = (by_image(where(rows, **{knob: v}), key) for v in (first, last))
    return summary(sign * (b[i] - a[i]) for i in a if i in b)


def draw(rows: list[Row]) -> Figure:
    """Heat maps: PSNR outside the edit, LPIPS where it is available, edits as asked."""
    panels = {"outside": ("PSNR outside the edit, dB", ".1f", 1.0)}
    if values(rows, "lpips"):
        panels["lpips"] = ("LPIPS (AlexNet) to the input", ".3f", 1.0)
    panels["asked"] = ("edits as asked, %", ".0f", 100.0)
    made = figure(3.5 * len(panels), 3.4)
    for axes, (key, (title, form, unit)) in zip(
        made.subplots(1, len(panels)), panels.items(), strict=True
    ):
        table, skips, weights = grid(rows, key)
        heat_map(axes, table * unit, (skips, weights), form)
        dress(axes, "guidance w", "skip, share of the steps" if key == "outside" else "", title)
        axes.grid(visible=False)
    return made


def draw_pictures(kept: Kept, edit: SceneEdit, plan: Plan, rows: list[Row]) -> Figure:
    """The grid as pictures of the first edit, with their PSNR to the true one."""
    table = []
    for row, skip in enumerate(plan.skips):
        tiles = [Tile(None, f"skip {skip:g}")]
        for w in plan.weights:
            near = mean(rows, "truth", skip=skip, guidance=w, image=0)
            tiles.append(Tile(kept.picture(f"{skip:g} {w:g} 0"), f"{near:.1f} dB"))
        ends = {0: Tile(edit.scene.render(), "source"), 1: Tile(edit.truth.render(), "true edit")}
        table.append([*tiles, ends.get(row, Tile(None))])
    return mosaic(table, ["", *(f"guidance {w:g}" for w in plan.weights), ""], tile=1.2)
