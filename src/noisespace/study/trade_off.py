"""What structure each method pays for reaching the target, over its own knobs (claim C13)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from noisespace.inversion import DDIM, CycleDiffusion, EditFriendly, NegativePrompt, SDEdit
from noisespace.study.budget import Budget, Task
from noisespace.study.curves import gap, points
from noisespace.study.edited import pictures_at, untouched
from noisespace.study.finding import Finding, claim
from noisespace.study.kept import Kept
from noisespace.study.measure import Row, lpips, mean, values, where
from noisespace.study.style import INK, Tile, below, curve, dress, figure, mosaic
from noisespace.study.subjects import SceneEdit, need_text, scene_edits, scores, seeds_of

Weights = Mapping[float, "float | None"]
RIVALS = ("ddim", "ddim, stopped", "sdedit", "cycle-diffusion", "cycle-diffusion, eta 1")  # C13


@dataclass(frozen=True)
class Plan:
    """Each method's knob: ``skips``, guidances ``weights``, ``stops`` and ``strengths``."""

    images: int = 12
    steps: int | None = None  # each method's own number
    skips: tuple[float, ...] = (0.0, 0.12, 0.24, 0.36, 0.48, 0.6)
    weights: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0, 4.5, 7.5)
    stops: tuple[float, ...] = (0.4, 0.55, 0.7, 0.85)
    strengths: tuple[float, ...] = (0.3, 0.45, 0.6, 0.75, 0.9)


QUICK = Plan(4, 20, (0.1, 0.35, 0.6), (1.0, 2.0, 4.5), (0.4, 0.6, 0.8), (0.4, 0.6, 0.8))


def study(model: Any, budget: Budget) -> Finding:
    """Structure against target of every method along its knob; the do-nothing edit is a point."""
    need_text(model, "trade-off")
    plan = budget.plan(Plan(), QUICK)
    edits = scene_edits(plan.images, f"trade-off {budget.seed}")
    tasks = [Task({"method": "none"}, 1.0, partial(nothing, model, edits))]
    for name, knob, turns in knobs(plan):
        for method, weights in turns:
            steps = plan.steps or method.defaults.steps
            key = {"method": name, "knob": knob, "settings": list(weights)}
            work = partial(measured, model, edits, name, (method, weights), plan.steps, budget)
            tasks.append(Task(key, steps * plan.images * (1 + 2 * len(weights)), work))
    rows = budget.collect(tasks)
    numbers = {"n": plan.images, **summarise(rows, budget.seed)}
    figures = {"judge": draw(rows, "outside", "asked"), "truth": draw(rows, "outside", "truth")}
    if values(rows, "lpips"):
        figures["lpips"] = draw(rows, "lpips", "asked")
    figures["pictures"] = draw_pictures(budget.kept, edits, rows)
    return Finding("trade-off", "Structure against target", numbers, rows, figures)


def knobs(plan: Plan) -> list[tuple[str, str, list[tuple[Any, Weights]]]]:
    """Every method, what is turned in it, and at each turn the method and its guidances.

    Guidances by the setting that they stand for: None is the method's own.
    """

    def each(make: Callable[[float], Any], settings: Sequence[float]) -> list[tuple[Any, Weights]]:
        return [(make(setting), {setting: None}) for setting in settings]

    guided: Weights = {w: w for w in plan.weights}
    return [
        ("edit-friendly", "skip", each(EditFriendly, plan.skips)),
        ("cycle-diffusion", "skip", each(CycleDiffusion, plan.skips)),
        ("cycle-diffusion, eta 1", "skip", each(partial(CycleDiffusion, eta=1.0), plan.skips)),
        ("ddim", "guidance", [(DDIM(), guided)]),
        ("negative-prompt", "guidance", [(NegativePrompt(), guided)]),
        ("ddim, stopped", "stop", each(lambda stop: DDIM(stop=stop), plan.stops)),
        ("sdedit", "strength", each(SDEdit, plan.strengths)),
    ]


def nothing(model: Any, edits: list[SceneEdit]) -> list[Row]:
    """The points of those who do nothing."""
    found = untouched(model, edits, lpips())
    return [{"does": name, **row} for name, rows in found.items() for row in rows]


def measured(
    model: Any,
    edits: list[SceneEdit],
    name: str,
    turn: tuple[Any, Weights],
    steps: int | None,
    budget: Budget,
) -> list[Row]:
    """One turn of a method's knob: scores of every image at each of its guidances."""
    (method, weights), rows = turn, []
    seeds = seeds_of(budget.seed, len(edits))
    found = pictures_at(model, edits, method, seeds, list(weights.values()), steps)
    for setting, pictures in zip(weights, found, strict=True):
        for i, row in enumerate(scores(edits, pictures, lpips())):
            rows.append({"setting": setting, "image": i, **row})
            budget.kept.keep(f"{name} {setting:g} {i}", pictures[i])
    return rows


def summarise(rows: list[Row], seed: int) -> Row:
    """The curves, their gaps to the edit-friendly one, and claim C13."""
    numbers: Row = {"lpips": "measured" if values(rows, "lpips") else "unavailable"}
    keys = ("outside", "truth", "asked", "lpips")
    for does in ("input", "autoencoder"):
        numbers[does] = {key: mean(rows, key, does=does) for key in keys}
    ours, others = where(rows, method="edit-friendly"), {}
    numbers["methods"], numbers["edit-friendly less"] = {}, others
    for name in dict.fromkeys(values(rows, "method")):
        some = where(rows, method=name)
        if name == "none":
            continue
        numbers["methods"][name] = {
            f"{some[0]['knob']} {s:g}": {key: mean(some, key, setting=s) for key in keys}
            for s in points(some, "outside", "asked")[0]
        }
        if name != "edit-friendly":
            others[name] = {key: gap(ours, some, "outside", key, seed) for key in keys[1:3]}
    numbers["claims"] = {"C13": beats(others)}
    return numbers


def beats(others: Row) -> Row:
    """C13: at equal structure edit-friendly edits reach the target more often than others do."""
    found = {name: others[name]["asked"] for name in RIVALS}
    said = ", ".join(
        f"{name} {100 * g['mean']:+.0f} ({100 * g['low']:+.0f} to {100 * g['high']:+.0f})"
        if g["shared"]
        else f"{name}: no structure in common"
        for name, g in found.items()
    )
    holds = all(g["low"] > 0 for g in found.values())
    return claim(holds, f"edit-friendly less others at equal structure, points: {said}")


def draw(rows: list[Row], x: str, y: str) -> Figure:
    """A curve a method, with the do-nothing edits as points."""
    made = figure(6.6, 4.8)
    axes, unit = made.subplots(), 100.0 if y == "asked" else 1.0
    for place, name in enumerate(n for n in dict.fromkeys(values(rows, "method")) if n != "none"):
        some = where(rows, method=name)
        _, xs, ys = points(some, x, y)
        label = f"{name} ({some[0]['knob']})"
        curve(axes, xs, [unit * v for v in ys], name, place, label=label)
    for does, marker in (("input", "*"), ("autoencoder", "+")):
        at = mean(rows, x, does=does), unit * mean(rows, y, does=does)
        axes.plot(*at, marker, color=INK, markersize=11, linestyle="", label=f"{does}, no edit")
    labels = {
        "outside": "structure: PSNR outside the edit, dB",
        "lpips": "structure: LPIPS (AlexNet) to the input, less is better",
        "asked": "target: edits as asked, %",
        "truth": "PSNR to the true edit, dB",
    }
    if x == "lpips":
        axes.invert_xaxis()
    count = len({r["image"] for r in rows})
    dress(axes, labels[x], labels[y], f"{count} scenes; what is turned is in brackets")
    below(made, axes, 3)
    return made


def draw_pictures(kept: Kept, edits: list[SceneEdit], rows: list[Row]) -> Figure:
    """Up to four edits by every method, at the setting that came nearest to the true edits."""
    names = [n for n in dict.fromkeys(values(rows, "method")) if n != "none"]
    best = {}
    for name in names:
        settings, _, near = points(where(rows, method=name), "outside", "truth")
        best[name] = settings[int(np.argmax(near))]
    table = []
    for i, one in enumerate(edits[:4]):
        tiles = [Tile(one.scene.render(), one.kind), Tile(one.truth.render())]
        for name in names:
            near = mean(rows, "truth", method=name, setting=best[name], image=i)
            tiles.append(Tile(kept.picture(f"{name} {best[name]:g} {i}"), f"{near:.1f} dB"))
        table.append(tiles)
    heads = [f"{name.replace(', ', chr(10))}\n{best[name]:g}" for name in names]
    return mosaic(table, ["source", "true edit", *heads], tile=1.2)
