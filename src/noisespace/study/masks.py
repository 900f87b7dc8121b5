"""What DiffEdit's mask finds and protects, by how much the prompts say (claim C18)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from noisespace.api import edit, invert
from noisespace.bench.scenes import SceneEdit, grown
from noisespace.core.code import Code
from noisespace.editing import DiffEdit, EditContext
from noisespace.inversion import DDIM
from noisespace.study.budget import Budget, Task
from noisespace.study.claims import Check, claim
from noisespace.study.complexity import ONE, PROMPTS, edits_of
from noisespace.study.draw_masks import draw_outside, draw_pictures, draw_thresholds
from noisespace.study.finding import Finding
from noisespace.study.kept import Kept
from noisespace.study.measure import Row, mean, paired, psnr, summary, values, where
from noisespace.study.subjects import need_text
from noisespace.study.two_objects import iou

BATCH = 25
PUBLISHED = DiffEdit()
INVERSION = DDIM(stop=0.8)  # the paper encodes up to 80 % of the way
FOUND = 0.5  # IoU from which a region counts as found, as in object detection
LEAST = 20  # scenes


@dataclass(frozen=True)
class Plan:
    """``thresholds`` of the mask, besides the published one."""

    images: int = 25
    steps: int = 50
    thresholds: tuple[float, ...] = (0.2, 0.35, 0.65, 0.8)


QUICK = Plan(4, 10, (0.25, 0.75))


def study(model: Any, budget: Budget) -> Finding:
    """The same edits of the same objects under prompts that say more and less."""
    need_text(model, "masks")
    plan = budget.plan(Plan(), QUICK)
    every = {name: edits_of(name, plan.images, budget.seed) for name in PROMPTS}
    tasks = []
    for name, edits in every.items():
        for start in range(0, plan.images, BATCH):
            some = edits[start : start + BATCH]
            key = {"prompts": name, "from": start}
            work = partial(measured, model, key, some, plan, budget.kept)
            tasks.append(Task(key, (5 * plan.steps + 20) * len(some), work))
    rows = budget.collect(tasks)
    numbers = {"n": plan.images, "steps": plan.steps, **summarise(rows)}
    figures = {
        "thresholds": draw_thresholds(rows, PUBLISHED.threshold),
        "outside": draw_outside(rows),
        "pictures": draw_pictures(budget.kept, every, rows),
    }
    return Finding("masks", "DiffEdit's masks", numbers, rows, figures)


def measured(model: Any, key: Row, some: Sequence[SceneEdit], plan: Plan, kept: Kept) -> list[Row]:
    """Edits with the mask and without; the mask's IoU with the true one at every threshold."""
    name, start, rows = key["prompts"], key["from"], []
    sources, targets = [e.scene.caption for e in some], [e.truth.caption for e in some]
    code = invert(model, [e.scene for e in some], sources, INVERSION, steps=plan.steps)
    free = edit(model, code, targets).images
    masked = edit(model, code, targets, editor=PUBLISHED).images
    places = found_masks(model, code, (sources, targets), (PUBLISHED.threshold, *plan.thresholds))
    for i, one in enumerate(some):
        for what, picture in (("free", free[i]), ("masked", masked[i])):
            kept.keep(f"{name} {what} {start + i}", picture)
        large = torch.from_numpy(places[PUBLISHED.threshold][i]).repeat_interleave(4, 0)
        large = (large.repeat_interleave(4, 1)[..., None] * 255).byte().expand(-1, -1, 3)
        kept.keep(f"{name} mask {start + i}", large.numpy())
        before, after, rest = one.scene.render(), one.truth.render(), ~grown(one.touched)
        row = {
            "image": start + i,
            "kind": one.kind,
            "outside": psnr(masked[i], before, rest),
            "outside without": psnr(free[i], before, rest),
            "truth": psnr(masked[i], after),
            "truth without": psnr(free[i], after),
            "area": float(places[PUBLISHED.threshold][i].mean()),
            "true area": float(one.touched.mean()),
        }
        for threshold, masks in places.items():
            row[f"iou {threshold:g}"] = iou(one.touched, masks[i])
        rows.append(row)
    return rows


@torch.no_grad()
def found_masks(
    model: Any, code: Code, prompts: tuple[list[str], list[str]], thresholds: Sequence[float]
) -> dict[float, Any]:
    """DiffEdit's masks, bool (image, h, w), at each threshold; the map is made once."""
    source, targets, null = (model.embed(p) for p in (*prompts, [None] * len(prompts[0])))
    context = EditContext(model, code, source, targets, null, (1.0, 1.0))
    difference = PUBLISHED.difference(context)
    editors = {t: replace(PUBLISHED, threshold=t) for t in thresholds}
    return {t: e.inside(difference)[:, 0].cpu().numpy() for t, e in editors.items()}


def summarise(rows: list[Row]) -> Row:
    """Masks and edits by what the prompts say, and the claim's parts."""
    numbers: Row = {"threshold": PUBLISHED.threshold}
    single = where(rows, prompts=ONE)
    for name in PROMPTS:
        some = where(rows, prompts=name)
        keys = [key for key in some[0] if key.startswith(("iou", "outside", "truth"))]
        numbers[name] = {key: summary(values(some, key)) for key in keys}
        numbers[name] |= {key: mean(some, key) for key in ("area", "true area")}
        kinds = dict.fromkeys(values(some, "kind"))
        numbers[name]["iou by kind"] = {k: mean(some, best(), kind=k) for k in kinds}
        if name != ONE:
            numbers[name][f"iou less {ONE}"] = paired(some, single, best())
    numbers["claims"] = [finds(rows), protects(rows), *complex_prompts(rows)]
    return numbers


def best() -> str:
    """The column of the IoU at the published threshold."""
    return f"iou {PUBLISHED.threshold:g}"


def finds(rows: list[Row]) -> Row:
    """C18: the mask of a simple edit is where the edit belongs."""
    some = where(rows, prompts=ONE)
    check = Check(f"IoU, {ONE}", summary(values(some, best())), above=FOUND)
    return claim("C18", [check], len(some), least=LEAST, part="finds the region")


def protects(rows: list[Row]) -> Row:
    """C18: with the mask the rest stays nearer to the input than without."""
    checks, n = [], len(where(rows, prompts=ONE))
    for name in PROMPTS:
        some = where(rows, prompts=name)
        gain = summary(r["outside"] - r["outside without"] for r in some)
        checks.append(Check(name, gain, above=0, unit="dB"))
    rule = "PSNR outside the edit, with the mask less without, same code and prompts"
    return claim("C18", checks, n, least=LEAST, part="protects the rest", rule=rule)


def complex_prompts(rows: list[Row]) -> list[Row]:
    """C18: prompts that say more, or change more, give a worse mask of the same region."""
    single, found = where(rows, prompts=ONE), []
    for name in PROMPTS[1:]:
        gap = paired(single, where(rows, prompts=name), best())
        check = Check(f"{ONE} less {name}", gap, above=0)
        rule = "IoU with the true mask, paired by object"
        part = f"worse with {name}"
        found.append(claim("C18", [check], gap["n"], least=LEAST, part=part, rule=rule))
    return found
