"""What noise maps survive: translated (claim C10), and painted (claim C11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from noisespace.api import invert, reconstruct
from noisespace.code import Code
from noisespace.editing import Shift
from noisespace.inversion import CycleDiffusion, EditFriendly
from noisespace.study.budget import Budget, Task
from noisespace.study.draw_operations import (
    colour_pictures,
    draw_colour,
    draw_shift,
    shift_pictures,
)
from noisespace.study.finding import Finding, Row, claim
from noisespace.study.kept import Kept
from noisespace.study.measure import above, mean, paired, psnr, summary, values, where, words
from noisespace.study.painting import (
    colour_scores,
    frozen_codes,
    painted_maps,
    painted_over,
    textured,
)
from noisespace.study.subjects import joined, native, need_text, seeds_of
from noisespace.train.scenes import Scene

KINDS = ("edit-friendly", "cycle-diffusion, eta 1", "native")
PAINTS = ("color-edit", "sdedit")


@dataclass(frozen=True)
class Plan:
    """``shifts`` in pixels; ``paints``: strengths of ColorEdit; ``strengths``: those of SDEdit."""

    images: int = 12
    steps: int = 100
    shifts: tuple[int, ...] = (4, 8, 12, 16)
    paints: tuple[float, ...] = (0.025, 0.05, 0.1, 0.2)
    strengths: tuple[float, ...] = (0.2, 0.35, 0.5, 0.65, 0.8)


QUICK = Plan(4, 20, (4, 16), (0.1, 0.2), (0.2, 0.8))


def study(model: Any, budget: Budget) -> Finding:
    """Translated maps against the translated picture; paint in the maps against paint over it."""
    need_text(model, "operations")
    plan = budget.plan(Plan(), QUICK)
    scenes = textured(plan.images, f"operations {budget.seed}" if budget.seed else "operations")
    seeds, kept, n = seeds_of(budget.seed, plan.images), budget.kept, plan.images
    tasks = [
        Task(
            {"what": "shift", "kind": kind},
            plan.steps * n * (len(plan.shifts) + 2),
            partial(shifted, model, kind, scenes, plan, seeds, kept),
        )
        for kind in KINDS
    ]
    for kind, settings in (("color-edit", plan.paints), ("sdedit", plan.strengths)):
        for setting in settings:
            key = {"what": "colour", "kind": kind, "setting": setting}
            work = partial(coloured, model, kind, setting, scenes, plan.steps, seeds, kept)
            tasks.append(Task(key, plan.steps * n * (2.5 if kind == "color-edit" else 1), work))
    rows = budget.collect(tasks)
    numbers = {"n": n, "steps": plan.steps, **summarise(rows)}
    figures = {
        "shift": draw_shift(rows, KINDS),
        "shift-pictures": shift_pictures(kept, KINDS, (0, *plan.shifts)),
        "colour": draw_colour(rows),
        "colour-pictures": colour_pictures(
            kept, scenes, {"color-edit": plan.paints, "sdedit": plan.strengths}
        ),
    }
    return Finding("operations", "Noise maps translated and painted", numbers, rows, figures)


def shift_code(
    model: Any, kind: str, scenes: Sequence[Scene], steps: int, seeds: Sequence[int]
) -> Code:
    """The code whose maps are translated; a native one is of samples of the scenes' captions."""
    captions = [s.caption for s in scenes]
    if kind == "native":
        return native(model, captions, seeds, steps=steps)
    method = EditFriendly(skip=0) if kind == "edit-friendly" else CycleDiffusion(0, 1.0)
    options = {"steps": steps, "guidance": 1.0, "seed": list(seeds)}
    return invert(model, list(scenes), captions, method, **options)


def shifted(
    model: Any, kind: str, scenes: Sequence[Scene], plan: Plan, seeds: Sequence[int], kept: Kept
) -> list[Row]:
    """PSNR of translated maps' pictures to the translated source, which wraps around as they do."""
    code = shift_code(model, kind, scenes, plan.steps, seeds)
    every = joined([code, *(Shift(by)(model, code) for by in plan.shifts)])
    found, n, rows = reconstruct(model, every).images, len(scenes), []
    sources = found[:n] if kind == "native" else [s.render() for s in scenes]
    for j, by in enumerate((0, *plan.shifts)):
        for i, source in enumerate(sources):
            picture, truth = found[j * n + i], np.roll(np.asarray(source), by, 1)
            rows.append({"shift": by, "image": i, "psnr": psnr(picture, truth)})
            kept.keep(f"shift {kind} {by} {i}", picture)
    return rows


def coloured(
    model: Any,
    kind: str,
    setting: float,
    scenes: Sequence[Scene],
    steps: int,
    seeds: Sequence[int],
    kept: Kept,
) -> list[Row]:
    """One setting of one way to paint."""
    if kind == "color-edit":
        code = frozen_codes(model, scenes, steps, seeds)
        found = painted_maps(model, code, scenes, strength=setting)
    else:
        found = painted_over(model, scenes, setting, steps, seeds)
    for i, picture in enumerate(found):
        kept.keep(f"colour {kind} {setting:g} {i}", picture)
    return [{"image": i, **row} for i, row in enumerate(colour_scores(scenes, found))]


def summarise(rows: list[Row]) -> Row:
    """Means by setting, and both claims."""
    moved = [r for r in where(rows, what="shift") if r["shift"]]
    numbers: Row = {"shift": {}, "colour": {}}
    for kind in KINDS:
        numbers["shift"][kind] = summary(values(moved, "psnr", kind=kind))
    for kind in PAINTS:
        for setting in dict.fromkeys(values(rows, "setting", kind=kind)):
            some = where(rows, kind=kind, setting=setting)
            keys = ("truth", "outside", "colour", "texture", "all")
            numbers["colour"][f"{kind} {setting:g}"] = {key: mean(some, key) for key in keys}
    numbers["claims"] = {"C10": translated(rows, numbers), "C11": both(rows)}
    return numbers


def translated(rows: list[Row], numbers: Row) -> Row:
    """C10: edit-friendly maps translate the picture, native ones do not; paired by image."""
    far = max(values(rows, "shift"))
    ours = where(rows, kind="edit-friendly", shift=far)
    gap = paired(ours, where(rows, kind="cycle-diffusion, eta 1", shift=far), "psnr")
    numbers["shift"]["edit-friendly - native maps of the same picture"] = gap
    means = {kind: mean(rows, "psnr", kind=kind, shift=far) for kind in KINDS}
    said = ", ".join(f"{kind} {value:.1f} dB" for kind, value in means.items())
    return claim(
        above(gap) and means["edit-friendly"] > means["native"],
        f"to the picture translated by {far} pixels: {said}; edit-friendly less native maps of the "
        f"same picture {words(gap, unit='dB')}",
    )


def both(rows: list[Row]) -> Row:
    """C11: some strength of ColorEdit does both, colour and texture, better than any of SDEdit."""

    def best(kind: str) -> tuple[float, float, float, float]:
        some = where(rows, kind=kind)
        found = []
        for setting in dict.fromkeys(values(some, "setting")):
            share = [mean(some, key, setting=setting) for key in ("colour", "texture")]
            found.append((min(share), *share, setting))
        return max(found)

    ours, theirs = best("color-edit"), best("sdedit")
    return claim(
        ours[0] > theirs[0],
        f"ColorEdit at {ours[3]:g} gives the new colour in {ours[1]:.0%} and keeps the texture in "
        f"{ours[2]:.0%}; SDEdit at its best, {theirs[3]:g}: {theirs[1]:.0%} and {theirs[2]:.0%}",
    )
