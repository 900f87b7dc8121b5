"""What an edit takes by each method: seconds and evaluations (claim C19, the speed of C7)."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from noisespace.api import edit, invert
from noisespace.bench.costs import costing
from noisespace.editing import DiffEdit, MasaCtrl, Pix2PixZero, PlugAndPlay, PromptToPrompt
from noisespace.inversion import (
    DDIM,
    EDICT,
    CycleDiffusion,
    Direct,
    EditFriendly,
    NegativePrompt,
    NullText,
    SDEdit,
)
from noisespace.study.budget import Budget, Task
from noisespace.study.claims import Check, claim
from noisespace.study.draw_times import draw_evaluations, draw_seconds
from noisespace.study.finding import Finding
from noisespace.study.measure import Row, mean, ratio, summary, values, where
from noisespace.study.subjects import SceneEdit, need_text, scene_edits

WARM = 6  # steps of an edit that is not timed; the fewest of one that is
LEAST = 3  # repetitions
SLOW = 2.0  # times as long as another method
FASTER = 30  # times, of C7


@dataclass(frozen=True)
class Way:
    """A method as published; ``inverting``: steps of its inversion where they are not its edit's.

    An inversion on another grid is timed by itself: the edit then takes a code of the usual one.
    """

    inversion: Any
    editor: Any = None
    inverting: int | None = None


FAST = ("edit-friendly", "negative-prompt")
SLOWER = ("null-text, adam", "plug-and-play, 1000 steps inverting")  # both as published
WAYS = {
    "edit-friendly": Way(EditFriendly()),
    "edit-friendly, P2P": Way(EditFriendly(skip=0.12), PromptToPrompt(cross=0.6, self_=0.2)),
    "negative-prompt": Way(NegativePrompt()),
    "negative-prompt, P2P": Way(NegativePrompt(), PromptToPrompt()),
    "ddim": Way(DDIM()),
    "ddim, P2P": Way(DDIM(), PromptToPrompt()),
    "direct, P2P": Way(Direct(), PromptToPrompt()),
    "cycle-diffusion": Way(CycleDiffusion()),
    "sdedit": Way(SDEdit()),
    "edict": Way(EDICT()),
    "masactrl": Way(DDIM(), MasaCtrl()),
    "diffedit": Way(DDIM(stop=0.8), DiffEdit()),
    "plug-and-play": Way(DDIM(), PlugAndPlay()),
    "plug-and-play, 1000 steps inverting": Way(DDIM(), PlugAndPlay(), 1000),
    "pix2pix-zero": Way(DDIM(regularise=5), Pix2PixZero()),
    "null-text": Way(NullText(solver="gauss-newton")),
    "null-text, adam": Way(NullText(solver="adam")),
}


@dataclass(frozen=True)
class Plan:
    """``images``: repetitions, each of another picture; ``share`` of the published steps."""

    images: int = 3
    share: float = 1.0
    ways: dict[str, Way] = field(default_factory=lambda: WAYS)


FEW = (*FAST, *SLOWER, "ddim, P2P", "plug-and-play")
QUICK = Plan(3, 0.1, {name: way for name, way in WAYS.items() if name in FEW})


def study(model: Any, budget: Budget) -> Finding:
    """One picture at a time, every method at its published steps and guidance, in turn."""
    need_text(model, "times")
    plan = budget.plan(Plan(), QUICK)
    edits = scene_edits(plan.images, f"times {budget.seed}")
    tasks = []
    # a round of all methods a picture: what slows the machine for a while slows them all
    for i, one in enumerate(edits):
        for name, way in plan.ways.items():
            steps = steps_of(way.inversion, plan.share)
            cost = 10 * steps if isinstance(way.inversion, NullText) else steps
            work = partial(timed, model, way, one, plan.share, budget.seed + i)
            tasks.append(Task({"image": i, "method": name}, cost, work))
    rows = budget.collect(tasks)
    machine = {"threads": torch.get_num_threads(), "device": str(model.device)}
    numbers = {"n": plan.images, **machine, "share of the steps": plan.share, **summarise(rows)}
    figures = {"seconds": draw_seconds(rows), "evaluations": draw_evaluations(rows)}
    return Finding("times", "Seconds an edit", numbers, rows, figures)


def steps_of(method: Any, share: float) -> int:
    """A share of the published steps."""
    return max(WARM, round(share * method.defaults.steps))


def timed(model: Any, way: Way, one: SceneEdit, share: float, seed: int) -> list[Row]:
    """Seconds and evaluations of one edit, after a few steps of another to warm up."""
    whole(model, Way(way.inversion, way.editor), one, WARM, seed)
    steps, extra = steps_of(way.inversion, share), {"seconds": 0.0, "evaluations": 0}
    if way.inverting:
        longer = max(WARM, round(share * way.inverting))
        _, long = costing(model, lambda m: inverted(m, way, one, longer, seed))
        _, own = costing(model, lambda m: inverted(m, way, one, steps, seed))
        extra = {
            "seconds": long.seconds - own.seconds,
            "evaluations": long.evaluations - own.evaluations,
        }
    code, first = costing(model, lambda m: inverted(m, way, one, steps, seed))
    _, then = costing(model, lambda m: edited(m, way, one, code))
    return [
        {
            "seconds": first.seconds + then.seconds + extra["seconds"],
            "inversion seconds": first.seconds + extra["seconds"],
            "evaluations": first.evaluations + then.evaluations + extra["evaluations"],
            "steps": steps,
        }
    ]


def inverted(model: Any, way: Way, one: SceneEdit, steps: int, seed: int) -> Any:
    """The inversion at its published guidance."""
    options = {"steps": steps, "guidance": way.inversion.defaults.invert, "seed": seed}
    if isinstance(way.inversion, NullText):
        options.pop("guidance")  # it is a field of the method
    return invert(model, one.scene, one.scene.caption, way.inversion, **options)


def whole(model: Any, way: Way, one: SceneEdit, steps: int, seed: int) -> Any:
    """Inversion and edit at the published guidance."""
    return edited(model, way, one, inverted(model, way, one, steps, seed))


def edited(model: Any, way: Way, one: SceneEdit, code: Any) -> Any:
    """The edit at its published guidance."""
    w = way.inversion.defaults.edit
    return edit(model, code, one.truth.caption, editor=way.editor, guidance=w).images


def summarise(rows: list[Row]) -> Row:
    """Seconds and evaluations by method, and claim C19."""
    numbers: Row = {"methods": {}}
    for name in dict.fromkeys(values(rows, "method")):
        some = where(rows, method=name)
        numbers["methods"][name] = {
            "seconds": summary(values(some, "seconds")),
            "median": statistics.median(values(some, "seconds")),
            "evaluations": mean(some, "evaluations"),
            "over edit-friendly": ratio(some, where(rows, method="edit-friendly"), "seconds"),
        }
    numbers["claims"] = [*(slower(rows, name) for name in SLOWER), faster(rows)]
    return numbers


def faster(rows: list[Row]) -> Row:
    """C7: null-text as published takes so many times as long as a negative prompt."""
    slow, own = where(rows, method="null-text, adam"), where(rows, method="negative-prompt")
    times = ratio(slow, own, "inversion seconds")
    what = "seconds of null-text by Adam over those of a negative prompt"
    check = Check(what, times, above=FASTER, form=".0f")
    rule = "inversions alone, one picture at a time, as published (Adam stops a step early where "
    rule += "its loss is small); same model, machine and run"
    return claim("C7", [check], len(own), least=LEAST, part="speed", rule=rule)


def slower(rows: list[Row], name: str) -> Row:
    """C19: a slow method takes several times as long as each of the fast ones, side by side."""
    own, checks = where(rows, method=name), []
    for fast in FAST:
        times = ratio(own, where(rows, method=fast), "seconds")
        checks.append(Check(f"seconds over {fast}'s", times, above=SLOW, form=".1f"))
    rule = "one picture at a time, each as published, same model, machine and run"
    return claim("C19", checks, len(own), least=LEAST, part=name, rule=rule)
