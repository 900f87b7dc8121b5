"""Coupled inversions: exact whatever the guidance, at what price (claim C17)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

from noisespace.api import edit, invert
from noisespace.bench.costs import costing
from noisespace.errors import InputError
from noisespace.inversion import BELM, DDIM, EDICT
from noisespace.study.budget import Budget, Task
from noisespace.study.claims import Check, claim, exact
from noisespace.study.draw_coupled import draw_errors, draw_evaluations, draw_pictures
from noisespace.study.exactness import by_dtype
from noisespace.study.finding import Finding
from noisespace.study.inverting import Batch, Setting, reconstruction
from noisespace.study.kept import Kept
from noisespace.study.measure import Row, mean, ratio, summary, values, where
from noisespace.study.subjects import SceneEdit, need_text, scene_edits, scores, seeds_of

METHODS = {"ddim": DDIM(), "edict": EDICT(), "belm": BELM()}
DTYPES = ("float64", "float32")
# the largest difference of latents (of about unit variance) that still counts as rounding
ROUNDING = {"float64": 1e-8, "float32": 1e-2}


@dataclass(frozen=True)
class Plan:
    """``images`` edited, ``replayed`` of them at each of the ``weights``, on ``steps``."""

    images: int = 12
    replayed: int = 2
    steps: tuple[int, ...] = (10, 50)
    weights: tuple[float, ...] = (1.0, 3.0, 7.5)


QUICK = Plan(3, 1, (10,), (1.0, 3.0))


def study(model: Any, budget: Budget) -> Finding:
    """Replays in both dtypes by steps and guidance; edits at the model's own guidance."""
    need_text(model, "coupled")
    plan = budget.plan(Plan(), QUICK)
    edits = scene_edits(plan.images, f"coupled {budget.seed}")
    rows = budget.collect(tasks(model, edits, plan, budget))
    numbers = {"n": plan.images, **summarise(rows)}
    figures = {
        "errors": draw_errors(rows),
        "evaluations": draw_evaluations(rows),
        "pictures": draw_pictures(budget.kept, edits, rows),
    }
    return Finding("coupled", "Coupled inversions", numbers, rows, figures)


def tasks(model: Any, edits: list[SceneEdit], plan: Plan, budget: Budget) -> list[Task]:
    """Each method's replays by dtype, steps and guidance, and its edits."""
    out, some = [], [e.scene for e in edits[: plan.replayed]]
    batch = Batch(some, [s.caption for s in some], seeds_of(budget.seed, len(some)))
    model_of = by_dtype(model)
    for dtype, name, n, w in product(DTYPES, METHODS, plan.steps, plan.weights):
        key = {"part": "replay", "dtype": dtype, "method": name, "steps": n, "guidance": w}
        cost = 4 * n * len(batch) * (1 if w == 1 else 2) * (2 if dtype == "float64" else 1)
        out.append(Task(key, cost, partial(replayed, model_of, key, batch)))
    for name in METHODS:
        work = partial(edited, model, name, edits, max(plan.steps), budget.kept)
        out.append(Task({"part": "edit", "method": name}, 300 * len(edits), work))
    return out


def replayed(model_of: Callable[[str], Any], key: Row, batch: Batch) -> list[Row]:
    """How far a replay ends from the picture's latents; "failed": states that grew without end."""
    name = key["method"]
    setting = Setting(name, key["steps"], key["guidance"], METHODS[name])
    try:
        rows = reconstruction(model_of(key["dtype"]), setting, batch)
    except InputError as error:
        if "grew without bound" not in str(error) and "NaN or infinity" not in str(error):
            raise
        return [{"image": i, "failed": True} for i in range(len(batch))]
    return [{**row, "failed": False} for row in rows]


def edited(model: Any, name: str, edits: Sequence[SceneEdit], steps: int, kept: Kept) -> list[Row]:
    """The edits, and the evaluations of the network an image: of the inversion and of the edit."""
    prompts, targets = [e.scene.caption for e in edits], [e.truth.caption for e in edits]
    scenes = [e.scene for e in edits]
    # all of the way, so that all take as many steps; EDICT's published strength leaves out a fifth
    method = EDICT(strength=1.0) if name == "edict" else METHODS[name]
    w = model.defaults.get("methods", {}).get("ddim", {}).get("edit", 7.5)
    code, first = costing(
        model, lambda m: invert(m, scenes, prompts, method, steps=steps, guidance=1.0)
    )
    result, second = costing(model, lambda m: edit(m, code, targets, guidance=w))
    counts = {"inverting": first.evaluations / len(edits)}
    counts["editing"] = second.evaluations / len(edits)
    counts["evaluations"] = sum(counts.values())
    for i, picture in enumerate(result.images):
        kept.keep(f"{name} {i}", picture)
    found = scores(model, edits, result.images)
    return [{"image": i, "steps": steps, **counts, **row} for i, row in enumerate(found)]


def summarise(rows: list[Row]) -> Row:
    """Errors by dtype and method, edits, and claim C17."""
    numbers: Row = {"largest difference of latents": {}, "edits": {}}
    for dtype, name in product(DTYPES, METHODS):
        some = where(rows, part="replay", dtype=dtype, method=name)
        numbers["largest difference of latents"][f"{name}, {dtype}"] = {
            "max": max(values(some, "max"), default=None),
            "failed": sum(values(some, "failed")),
            "replays": len(some),
        }
    keys = ("inverting", "editing", "evaluations")
    for name in METHODS:
        some = where(rows, part="edit", method=name)
        numbers["edits"][name] = {key: mean(some, key) for key in keys}
        found = {key: summary(values(some, key)) for key in ("outside", "truth", "asked")}
        numbers["edits"][name] |= found
    numbers["claims"] = [is_exact(rows), doubles(rows)]
    return numbers


def is_exact(rows: list[Row]) -> Row:
    """C17: no replay of EDICT ends elsewhere than it began, in either dtype."""
    checks, some = [], where(rows, part="replay", method="edict")
    for dtype in DTYPES:
        own = where(some, dtype=dtype)
        worst = exact(max(values(own, "max"), default=float("nan")), len(own))
        checks.append(Check(dtype, worst, below=ROUNDING[dtype], form=".1e"))
    failed = exact(float(sum(values(some, "failed"))), len(some))
    checks.append(Check("replays that did not end", failed, below=1, form=".0f"))
    rule = "EDICT's largest difference of latents after a real replay, over steps and guidances"
    return claim("C17", checks, len(some), least=1, part="exact", rule=rule)


def doubles(rows: list[Row]) -> Row:
    """C17: an edit takes twice as many evaluations as by DDIM, on the same steps and guidance."""
    ours, plain = (where(rows, part="edit", method=name) for name in ("edict", "ddim"))
    times = ratio(ours, plain, "evaluations")
    check = Check("EDICT's evaluations an edit over DDIM's", times, above=1.9, below=2.1)
    return claim("C17", [check], len(ours), least=1, part="doubles the evaluations")
