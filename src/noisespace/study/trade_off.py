"""What structure each method pays for reaching the target, over its own knobs (claim C13)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from noisespace.inversion import DDIM, CycleDiffusion, EditFriendly, SDEdit
from noisespace.study.budget import Budget, Task
from noisespace.study.claims import Check, claim
from noisespace.study.curves import names_of, points
from noisespace.study.draw_trade_off import draw, draw_areas, draw_pictures
from noisespace.study.edited import pictures_at, untouched
from noisespace.study.finding import Finding
from noisespace.study.frontier import ahead
from noisespace.study.measure import Row, mean, values, where
from noisespace.study.subjects import SceneEdit, need_text, scene_edits, scores, seeds_of

Weights = Mapping[float, "float | None"]
RIVALS = ("ddim", "ddim, stopped", "sdedit", "cycle-diffusion", "cycle-diffusion, eta 1")  # C13
STRUCTURES = {"outside": 1, "lpips": -1}  # and whether more of it is better
TARGETS = ("asked", "truth", "alignment")
ENOUGH = 50  # scenes


@dataclass(frozen=True)
class Plan:
    """Each method's knob: ``skips``, guidances ``weights``, ``stops`` and ``strengths``."""

    images: int = ENOUGH
    steps: int | None = None  # each method's own number
    skips: tuple[float, ...] = (0.0, 0.2, 0.4)
    weights: tuple[float, ...] = (1.0, 2.0, 3.0, 5.0)
    stops: tuple[float, ...] = (0.4, 0.6, 0.8)
    strengths: tuple[float, ...] = (0.3, 0.55, 0.8)


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
    numbers = {"n": plan.images, **summarise(rows)}
    figures = {"judge": draw(rows, "outside", "asked"), "truth": draw(rows, "outside", "truth")}
    if values(rows, "lpips"):
        figures["lpips"] = draw(rows, "lpips", "asked")
    if values(rows, "lpips") and values(rows, "alignment"):
        figures["alignment"] = draw(rows, "lpips", "alignment")
    if areas := draw_areas(numbers["edit-friendly less"]):
        figures["areas"] = areas
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
        ("ddim, stopped", "stop", each(lambda stop: DDIM(stop=stop), plan.stops)),
        ("sdedit", "strength", each(SDEdit, plan.strengths)),
    ]


def nothing(model: Any, edits: list[SceneEdit]) -> list[Row]:
    """The points of those who do nothing."""
    found = untouched(model, edits)
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
        for i, row in enumerate(scores(model, edits, pictures)):
            rows.append({"setting": setting, "image": i, **row})
            budget.kept.keep(f"{name} {setting:g} {i}", pictures[i])
    return rows


def summarise(rows: list[Row]) -> Row:
    """The curves, how far the edit-friendly one is ahead of each, and claim C13."""
    numbers: Row = {"lpips": "measured" if values(rows, "lpips") else "unavailable"}
    keys = (*STRUCTURES, *TARGETS)
    for does in ("input", "autoencoder"):
        numbers[does] = {key: mean(rows, key, does=does) for key in keys}
    ours, others = where(rows, method="edit-friendly"), {}
    numbers["methods"], numbers["edit-friendly less"] = {}, others
    for name in names_of(rows):
        some = where(rows, method=name)
        numbers["methods"][name] = {
            f"{some[0]['knob']} {s:g}": {key: mean(some, key, setting=s) for key in keys}
            for s in points(some, "outside", "asked")[0]
        }
        if name != "edit-friendly":
            others[name] = gaps(ours, some)
    numbers["claims"] = [beats(others)]
    return numbers


def gaps(ours: list[Row], theirs: list[Row]) -> Row:
    """How far our front lies before theirs, by what is held equal and what is compared.

    Fronts, since a method that keeps less structure at every setting has none in common.
    """
    return {
        f"{target} at equal {structure}": ahead(ours, theirs, structure, target, sign)
        for structure, sign in STRUCTURES.items()
        for target in TARGETS
        if values(ours, structure) and values(ours, target)
    }


def beats(others: Row) -> Row:
    """C13: at equal structure edit-friendly edits reach the target more often than others do.

    Structure is LPIPS to the input, as in the paper; PSNR outside the edit where there is no LPIPS.
    """
    found = {name: others[name] for name in RIVALS}
    measured = all("asked at equal lpips" in gaps for gaps in found.values())
    equal = "asked at equal lpips" if measured else "asked at equal outside"
    checks = [Check(name, gaps[equal], above=0) for name, gaps in found.items()]
    n = min(gaps[equal]["n"] for gaps in found.values())
    what = "LPIPS (AlexNet) to the input" if measured else "PSNR outside the edit"
    rule = (
        f"share of edits as asked at equal {what}: the best that edit-friendly reaches while it "
        "keeps so much, less the best of each other method, averaged over all that both can keep"
    )
    return claim("C13", checks, n, least=ENOUGH, rule=rule)
