"""What noise maps survive: translated (claim C10), and painted (claim C11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from noisespace.api import invert, reconstruct
from noisespace.core.code import Code
from noisespace.editing import Shift
from noisespace.inversion import CycleDiffusion, EditFriendly
from noisespace.study.budget import Budget, Task
from noisespace.study.claims import ENOUGH, Check, claim
from noisespace.study.draw_operations import (
    colour_pictures,
    draw_colour,
    draw_shift,
    shift_pictures,
)
from noisespace.study.finding import Finding, Row
from noisespace.study.kept import Kept
from noisespace.study.measure import mean, paired, psnr, summary, values, where
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
APART = 3.0  # dB between a picture that was carried along and one that was not


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
        some = where(moved, kind=kind)
        by = dict.fromkeys(values(some, "shift"))
        numbers["shift"][kind] = {f"{v:g}": summary(values(some, "psnr", shift=v)) for v in by}
    for kind in PAINTS:
        for setting in dict.fromkeys(values(rows, "setting", kind=kind)):
            some = where(rows, kind=kind, setting=setting)
            keys = ("truth", "outside", "colour", "texture", "all")
            numbers["colour"][f"{kind} {setting:g}"] = {key: mean(some, key) for key in keys}
    numbers["claims"] = [translated(rows), both(rows)]
    return numbers


def translated(rows: list[Row]) -> Row:
    """C10: edit-friendly maps translate the picture, native ones do not; paired by image.

    Native maps are compared twice: of a sample of the same caption, where they are what drew it,
    and of the same picture, where CycleDiffusion's at eta 1 are what native maps of it are.
    """
    far = max(values(rows, "shift"))
    ours = where(rows, kind="edit-friendly", shift=far)
    checks = []
    for kind, name in (("native", "native maps of samples"), (KINDS[1], f"{KINDS[1]}'s")):
        gap = paired(ours, where(rows, kind=kind, shift=far), "psnr")
        checks.append(Check(f"edit-friendly less {name}", gap, above=APART, unit="dB", form=".1f"))
    what = f"PSNR to the picture translated by {far} pixels"
    return claim("C10", checks, len(ours), rule=what)


def both(rows: list[Row]) -> Row:
    """C11: ColorEdit at its best gives the colour and keeps the texture; SDEdit trades them.

    The best strength of each way is the one with the most pictures that have both.
    """
    ours, theirs = (best(where(rows, kind=kind)) for kind in PAINTS)
    what = f"ColorEdit {ours[0]['setting']:g} less SDEdit {theirs[0]['setting']:g}"
    shares, outside = (paired(ours, theirs, key) for key in ("both", "outside"))
    checks = [
        Check(f"{what}, share with new colour and old texture", shares, above=0),
        Check(f"{what}, PSNR outside the object", outside, above=0, unit="dB", form=".1f"),
    ]
    rule = "each way at the strength at which most of these pictures have both"
    return claim("C11", checks, shares["n"], least=ENOUGH, rule=rule)


def best(rows: list[Row]) -> list[Row]:
    """The rows of the setting at which most pictures have the new colour and the old texture."""
    rows = [{**r, "both": r["colour"] and r["texture"]} for r in rows]
    settings = dict.fromkeys(r["setting"] for r in rows)
    return max((where(rows, setting=s) for s in settings), key=lambda some: mean(some, "both"))
