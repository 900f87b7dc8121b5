"""How large noise maps are and how successive ones agree (claim C9; arXiv 2304.06140, fig. 4)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from matplotlib.figure import Figure

from noisespace.api import invert
from noisespace.core.code import Code
from noisespace.inversion import CycleDiffusion, EditFriendly
from noisespace.study.budget import Budget, Task
from noisespace.study.claims import Check, claim
from noisespace.study.finding import Finding, Row
from noisespace.study.measure import mean, summary, values, where
from noisespace.study.style import INK, band, dress, figure, legend
from noisespace.study.subjects import given, native, seeds_of

KINDS = ("native", "cycle-diffusion", "edit-friendly")
LARGER, OPPOSED, ALIKE = 3.0, -0.3, 0.1  # what C9 asks of variances and correlations
MIDDLE = "means over the middle four fifths of the steps, image by image"
BATCH = 10


@dataclass(frozen=True)
class Plan:
    """``images`` of each kind, ``steps`` of each, all at guidance 1 and eta 1."""

    images: int = 20
    steps: int = 100


QUICK = Plan(images=10, steps=40)


def study(model: Any, budget: Budget) -> Finding:
    """Variance of z_t and correlation of z_t with z_{t-1}, by step, over native and inverted maps.

    Native maps are those of samples of the same prompts; the others are of the pictures.
    """
    plan = budget.plan(Plan(), QUICK)
    images, prompts = given(model, plan.images, f"statistics {budget.seed}")
    seeds = seeds_of(budget.seed, plan.images)
    tasks = []
    for start in range(0, plan.images, BATCH):
        part = slice(start, start + BATCH)
        batch = (images[part], prompts[part], seeds[part])
        for kind in KINDS:
            work = partial(measured, model, kind, batch, plan.steps, start)
            cost = plan.steps * len(batch[1])
            tasks.append(Task({"kind": kind, "from": start, "steps": plan.steps}, cost, work))
    rows = budget.collect(tasks)
    numbers = {"n": plan.images, "steps": plan.steps, **summarise(rows)}
    figures = {"variance": draw(rows, "variance"), "correlation": draw(rows, "correlation")}
    return Finding("statistics", "Statistics of noise maps", numbers, rows, figures)


def measured(model: Any, kind: str, batch: tuple, steps: int, start: int) -> list[Row]:
    """The rows of one batch of images, numbered from ``start``."""
    images, prompts, seeds = batch
    if kind == "native":
        code = native(model, prompts, seeds, steps=steps)
    else:
        method = EditFriendly(skip=0) if kind == "edit-friendly" else CycleDiffusion(0, 1.0)
        code = invert(model, images, prompts, method, steps=steps, guidance=1.0, seed=seeds)
    return [{**row, "image": start + row["image"]} for row in statistics(code)]


def statistics(code: Code) -> list[Row]:
    """Of every image and step: the variance of its map, its correlation with the step before's.

    A map's variance is over its values; steps without noise (std = 0) are left out.
    """
    z = code.noise_maps().flatten(2)  # (steps, images, values)
    rows, before = [], None
    for k, maps in enumerate(z):
        if not bool(maps.abs().max() > 0):
            continue
        centred = maps - maps.mean(1, keepdim=True)
        level = code.grid.level(code.first + k)
        for i, values_ in enumerate(maps):
            agreed = None
            if before is not None:
                agreed = float(torch.cosine_similarity(centred[i], before[i], dim=0))
            rows.append(
                {
                    "image": i,
                    "step": k,
                    "t": float(level.t),
                    "variance": float(values_.var()),
                    "correlation": agreed,
                }
            )
        before = centred
    return rows


def summarise(rows: list[Row]) -> Row:
    """Means of each kind over the middle steps, intervals over images; and claim C9's first half.

    Of the noisiest and the cleanest tenth of the steps only the figures tell: towards the clean end
    the deviations that residuals are divided by vanish.
    """
    numbers: Row = {}
    last = max(row["step"] for row in rows)
    for kind in KINDS:
        found = numbers[kind] = {}
        some = [r for r in where(rows, kind=kind) if 0.1 * last <= r["step"] <= 0.9 * last]
        for key in ("variance", "correlation"):
            images = sorted({row["image"] for row in some})
            found[key] = summary(mean(some, key, image=i) for i in images)
        for share in (0.1, 0.3, 0.5, 0.7, 0.9):
            step = round(share * last)
            found[f"variance at step {step}"] = mean(rows, "variance", kind=kind, step=step)
    numbers["claims"] = [larger(numbers), opposed(numbers)]
    return numbers


def larger(numbers: Row) -> Row:
    """C9: edit-friendly maps have a larger variance than native ones, CycleDiffusion's do not."""
    own, cycle, ours = (numbers[kind]["variance"] for kind in KINDS)
    checks = [
        Check("variance of edit-friendly maps", ours, above=LARGER),
        Check("of native maps", own, below=LARGER),
        Check("of CycleDiffusion's maps", cycle, below=LARGER),
    ]
    return claim("C9", checks, ours["n"], part="variance", rule=MIDDLE)


def opposed(numbers: Row) -> Row:
    """C9: successive edit-friendly maps are negatively correlated, the others' are not."""
    own, cycle, ours = (numbers[kind]["correlation"] for kind in KINDS)
    checks = [
        Check("correlation of successive edit-friendly maps", ours, below=OPPOSED),
        Check("of native maps", own, above=-ALIKE, below=ALIKE),
        Check("of CycleDiffusion's maps", cycle, above=-ALIKE, below=ALIKE),
    ]
    return claim("C9", checks, ours["n"], part="correlation", rule=MIDDLE)


def draw(rows: list[Row], key: str) -> Figure:
    """A statistic by step: the mean over images and the middle half of them."""
    made = figure(6.0, 3.6)
    axes = made.subplots()
    for kind in KINDS:
        steps = sorted({r["step"] for r in where(rows, kind=kind) if r[key] is not None})
        table = [values(rows, key, kind=kind, step=k) for k in steps]
        every = max(1, len(steps) // 12)
        band(axes, steps, list(zip(*table, strict=True)), kind, markevery=every)
    labels = {
        "variance": "variance of a map's values",
        "correlation": "correlation with the map before",
    }
    if key == "variance":
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        ticks = [v for v in (0.5, 1, 2, 5, 10, 20, 50, 100) if low <= v <= high]
        axes.set_yticks(ticks, [f"{v:g}" for v in ticks])
        axes.minorticks_off()
    else:
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_ylim(-1, 1)
    count = len({row["image"] for row in rows})
    dress(axes, "step, noisy to clean", labels[key], f"noise maps of {count} pictures")
    legend(axes)
    return made
