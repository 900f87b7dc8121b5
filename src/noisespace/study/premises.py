"""What negative-prompt inversion (arXiv 2305.16807) takes for granted (claim C20)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from noisespace.api import edit, invert
from noisespace.bench.scenes import SceneEdit
from noisespace.editing import PromptToPrompt
from noisespace.inversion import DDIM, NegativePrompt, NullText
from noisespace.study.budget import Budget, Task
from noisespace.study.claims import Check, claim
from noisespace.study.draw_premises import draw_edits, draw_steps
from noisespace.study.finding import Finding
from noisespace.study.kept import Kept
from noisespace.study.measure import Row, mean, paired, ratio, summary, values, where
from noisespace.study.pivot import from_null, from_pivot
from noisespace.study.subjects import need_text
from noisespace.study.two_objects import compared, scores, two_object_edits, untouched

BATCH = 25
EDITORS = {"none": None, "prompt-to-prompt": PromptToPrompt()}
NULL, ADAM, NEGATIVE = "null-text", "null-text, adam", "negative-prompt"
METHODS = (NULL, ADAM, NEGATIVE)
LEAST = 10  # scenes
AGREE = 0.1  # |eps|: how far apart two predictions may lie that nearly agree
PAR = 0.5  # dB by which edits on a par may be worse


@dataclass(frozen=True)
class Plan:
    """``weights``: guidances of tuning and editing, as published and the model's own."""

    images: int = 12
    steps: int = 50
    weights: tuple[float, ...] = (7.5, 1.5)


QUICK = Plan(3, 10, (7.5,))


def study(model: Any, budget: Budget) -> Finding:
    """Distances of eps along the pivot and under tuned nulls, and edits at equal guidance."""
    need_text(model, "premises")
    plan = budget.plan(Plan(), QUICK)
    every = two_object_edits(plan.images, budget.seed)
    rows = budget.collect(tasks(model, every, plan, budget))
    numbers = {"n": plan.images, "steps": plan.steps, **summarise(rows)}
    figures = {"steps": draw_steps(rows), "edits": draw_edits(budget.kept, every, rows)}
    return Finding("premises", "Premises of negative prompts", numbers, rows, figures)


def tasks(model: Any, every: list[SceneEdit], plan: Plan, budget: Budget) -> list[Task]:
    """By batch of scenes: the pivot, and each method at each guidance."""
    out = []
    for start in range(0, len(every), BATCH):
        some = every[start : start + BATCH]
        work = partial(plain, model, some, start, plan.steps)
        out.append(Task({"what": "pivot", "from": start}, 4 * plan.steps * len(some), work))
        for w in plan.weights:
            for name in METHODS:
                key = {"what": "edit", "method": name, "w": w, "from": start}
                work = partial(edited, model, key, some, plan.steps, budget.kept)
                cost = {NULL: 15, ADAM: 40, NEGATIVE: 8}[name] * plan.steps * len(some)
                out.append(Task(key, cost, work))
    return out


def method(name: str, w: float) -> Any:
    """An inversion by its name."""
    if name == NEGATIVE:
        return NegativePrompt()
    return NullText(guidance=w, solver="adam" if name == ADAM else "gauss-newton")


def plain(model: Any, some: Sequence[SceneEdit], start: int, steps: int) -> list[Row]:
    """What needs no guidance: the pivot's distances, and the do-nothing edits."""
    sources = [e.scene.caption for e in some]
    code = invert(model, [e.scene for e in some], sources, DDIM(), steps=steps)
    rows = [{"image": start + i, **d} for i, d in enumerate(from_pivot(model, code, sources))]
    for name, found in untouched(model, some).items():
        head = {"what": "edit", "method": name}
        rows += [{**head, "image": start + i, **row} for i, row in enumerate(found)]
    return rows


def edited(model: Any, key: Row, some: Sequence[SceneEdit], steps: int, kept: Kept) -> list[Row]:
    """One method at one guidance: its null's distances, where it has one, and its edits."""
    name, w, first = key["method"], key["w"], key["from"]
    sources, targets = [e.scene.caption for e in some], [e.truth.caption for e in some]
    start = time.perf_counter()
    code = invert(model, [e.scene for e in some], sources, method(name, w), steps=steps)
    seconds, rows = (time.perf_counter() - start) / len(some), []
    if code.null is not None:
        found = from_null(model, code, sources)
        rows = [{"what": "null", "image": first + i, **d} for i, d in enumerate(found)]
    for editor, control in EDITORS.items():
        pictures = edit(model, code, targets, editor=control, guidance=w).images
        for i, row in enumerate(scores(some, pictures), first):
            kept.keep(f"{name} {w:g} {editor} {i}", pictures[i - first])
            rows.append({"image": i, "editor": editor, "seconds": seconds, **row})
    return rows


def summarise(rows: list[Row]) -> Row:
    """Distances by the part of the way, edits beside null-text's, and the claim's three parts."""
    numbers: Row = {"distances": {}, "edits": {}}
    pivot, weights = where(rows, what="pivot"), dict.fromkeys(values(rows, "w", what="null"))
    for key in ("adjacent", "level", "stranger", "guidance"):
        numbers["distances"][key] = parts(pivot, key)
    for w in weights:
        for name in (NULL, ADAM):
            found = where(rows, what="null", w=w, method=name)
            nearer = [{**r, "nearer": np.less(r["text"], r["empty"]).tolist()} for r in found]
            numbers["distances"][f"{name}, w {w:g}"] = {
                key: parts(nearer, key) for key in ("text", "empty", "nearer")
            }
        for editor in EDITORS:
            numbers["edits"][f"w {w:g}, {editor}"] = edits_at(rows, w, editor)
    for name in ("input", "autoencoder"):
        numbers["edits"][name] = compared(where(rows, method=name))
    n = len(pivot)
    numbers["claims"] = [neighbours(pivot), tuned(rows), on_a_par(rows, n)]
    return numbers


def parts(rows: list[Row], key: str) -> Row:
    """Means over all steps, the noisiest nine tenths and the last tenth, with intervals."""
    last = max(len(rows[0][key]) // 10, 1)
    slices = {"all steps": slice(None), "but the last tenth": slice(-last)}
    slices["the last tenth"] = slice(-last, None)
    return {name: summary(np.mean(r[key][part]) for r in rows) for name, part in slices.items()}


def edits_at(rows: list[Row], w: float, editor: str) -> Row:
    """Every method at one guidance under one editor; differences are to null-text, both ways."""
    some = where(rows, what="edit", w=w, editor=editor)
    null, adam = (where(some, method=name) for name in (NULL, ADAM))
    found = {name: compared(where(some, method=name), null, NULL) for name in METHODS}
    found[NEGATIVE] |= compared(where(some, method=NEGATIVE), adam, ADAM)
    return {n: {**f, "seconds": mean(some, "seconds", method=n)} for n, f in found.items()}


def over_steps(rows: list[Row], *keys: str) -> list[Row]:
    """Rows with the mean over all steps of each key."""
    return [{**row, **{key: float(np.mean(row[key])) for key in keys}} for row in rows]


def neighbours(pivot: list[Row]) -> Row:
    """C20 a: along the pivot the next step's eps differs little, and less than the text makes."""
    some = over_steps(pivot, "adjacent", "guidance")
    far = [{**row, "adjacent": row["guidance"]} for row in some]
    checks = [
        Check("to the next step", summary(values(some, "adjacent")), below=AGREE, form=".3f"),
        Check('to the next step, over source text to ""', ratio(some, far, "adjacent"), below=0.5),
    ]
    rule = "distances of eps on the DDIM pivot, in units of |eps|, means over all steps"
    return claim("C20", checks, len(some), least=LEAST, part="a, adjacent steps", rule=rule)


def tuned(rows: list[Row]) -> Row:
    """C20 b: the published loop's null predicts what the source text does rather than ""."""
    some = over_steps(where(rows, what="null", method=ADAM), "text", "empty")
    checks = []
    for w in dict.fromkeys(values(some, "w")):
        own = where(some, w=w)
        apart = summary(r["empty"] - r["text"] for r in own)
        checks.append(Check(f"guidance {w:g}", apart, above=0, form=".3f", unit="of |eps|"))
    n = len({r["image"] for r in some})
    rule = 'eps under the tuned null: how much farther from that under "" than from the text\'s'
    return claim("C20", checks, n, least=LEAST, part="b, the tuned null", rule=rule)


def on_a_par(rows: list[Row], n: int) -> Row:
    """C20 c: at equal guidance a negative prompt's edits are as near to the true ones."""
    checks = []
    for w in dict.fromkeys(values(rows, "w", what="edit")):
        for editor in EDITORS:
            some = where(rows, what="edit", w=w, editor=editor)
            own = where(some, method=NEGATIVE)
            for name in (NULL, ADAM):
                apart = paired(own, where(some, method=name), "truth")
                what = f"less {name}'s, guidance {w:g}, editor {editor}"
                checks.append(Check(what, apart, above=-PAR, unit="dB"))
    rule = "PSNR to the true edit of negative-prompt edits"
    return claim("C20", checks, n, least=LEAST, part="c, edits", rule=rule)
