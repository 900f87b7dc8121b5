"""Edit-friendly codes inside Prompt-to-Prompt and pix2pix-zero, against DDIM's (claim C15)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from noisespace.api import edit, invert
from noisespace.editing import Pix2PixZero, PromptToPrompt
from noisespace.inversion import DDIM, EditFriendly
from noisespace.study.budget import Budget, Task
from noisespace.study.claims import Check, claim
from noisespace.study.curves import points
from noisespace.study.draw_editors import draw, draw_pictures
from noisespace.study.edited import untouched
from noisespace.study.finding import Finding
from noisespace.study.frontier import ahead
from noisespace.study.kept import Kept
from noisespace.study.measure import Row, mean, values, where
from noisespace.study.subjects import SceneEdit, need_text, scene_edits, scores, seeds_of

BATCH = 25
STRUCTURES = {"outside": 1, "lpips": -1}  # more of it is better, or less
TARGETS = ("asked", "truth", "alignment")
P2P, ZERO = "prompt-to-prompt", "pix2pix-zero"
LEAST = {P2P: 50, ZERO: 20}  # scenes
# pix2pix-zero's step as published, and as the edit-friendly paper has it in its own codes
AMOUNTS = {"ddim": 0.1, "edit-friendly": 0.03}
SEEN = 4  # scenes of the figure


@dataclass(frozen=True)
class Plan:
    """Each code by ``weights``, the guidances of the edit, and edit-friendly ones by ``skips``.

    The published skips: .12 inside Prompt-to-Prompt, .36 alone. ``zeros``: how many of the images
    go through pix2pix-zero, which takes gradients, at the last of the skips.
    """

    images: int = 50
    steps: int = 50
    skips: tuple[float, ...] = (0.12, 0.36)
    weights: tuple[float, ...] = (1.0, 1.5, 2.5)
    zeros: int = 20


QUICK = Plan(4, 10, (0.2,), (1.0, 1.5, 2.5), 2)


def study(model: Any, budget: Budget) -> Finding:
    """Structure against target of both codes in both editors, over each one's knobs."""
    need_text(model, "editors")
    plan = budget.plan(Plan(), QUICK)
    edits = scene_edits(plan.images, f"editors {budget.seed}")
    rows = budget.collect(tasks(model, edits, plan, budget))
    numbers = {"n": plan.images, "steps": plan.steps, **summarise(rows)}
    figures = {editor: draw(rows, editor) for editor in (P2P, ZERO)}
    figures["pictures"] = draw_pictures(budget.kept, edits[:SEEN], rows)
    return Finding("editors", "Codes inside editors", numbers, rows, figures)


def tasks(model: Any, edits: list[SceneEdit], plan: Plan, budget: Budget) -> list[Task]:
    """Doing nothing; and by editor, code and batch of images all guidances."""
    out = [Task({"editor": "none"}, 1.0, partial(nothing, model, edits))]
    zeros = min(plan.zeros, plan.images)
    for editor, count, skips in ((P2P, plan.images, plan.skips), (ZERO, zeros, plan.skips[-1:])):
        codes = [("ddim", None), *(("edit-friendly", skip) for skip in skips)]
        for (name, skip), start in product(codes, range(0, count, BATCH)):
            key = {"editor": editor, "code": coded(name, skip), "from": start}
            some = edits[start : min(start + BATCH, count)]
            method = DDIM() if skip is None else EditFriendly(skip)
            seeds = seeds_of(budget.seed, count)[start:]
            work = partial(measured, model, key, some, (method, seeds), plan, budget.kept)
            each = 1 + len(plan.weights) * (4 if editor == P2P else 9)  # evaluations a step
            out.append(Task(key, each * plan.steps * (1 - (skip or 0)) * len(some), work))
    return out


def coded(name: str, skip: float | None) -> str:
    """A code as it is called in rows and figures."""
    return name if skip is None else f"{name}, skip {skip:g}"


def control(editor: str, code: str) -> Any:
    """An editor, the same for all codes but for pix2pix-zero's published step."""
    return PromptToPrompt() if editor == P2P else Pix2PixZero(AMOUNTS[code.split(",")[0]])


def nothing(model: Any, edits: list[SceneEdit]) -> list[Row]:
    """The points of those who do nothing."""
    found = untouched(model, edits)
    return [{"does": name, **row} for name, rows in found.items() for row in rows]


def measured(
    model: Any,
    key: Row,
    some: Sequence[SceneEdit],
    coder: tuple[Any, Sequence[int]],
    plan: Plan,
    kept: Kept,
) -> list[Row]:
    """One code of each image, edited at every guidance; ``coder``: its method and seeds."""
    (method, seeds), rows = coder, []
    prompts, targets = [e.scene.caption for e in some], [e.truth.caption for e in some]
    options = {"steps": plan.steps, "seed": list(seeds)[: len(some)]}
    code = invert(model, [e.scene for e in some], prompts, method, **options)
    own = control(key["editor"], key["code"])
    for w in plan.weights:
        pictures = edit(model, code, targets, editor=own, guidance=w).images
        for i, row in enumerate(scores(model, some, pictures), key["from"]):
            rows.append({"setting": w, "image": i, **row})
            if i < SEEN:
                picture = np.asarray(pictures[i - key["from"]])
                kept.keep(f"{key['editor']} {key['code']} {w:g} {i}", picture)
    return rows


def summarise(rows: list[Row]) -> Row:
    """The curves by guidance, the gaps between them at equal structure and target, and C15."""
    keys = (*STRUCTURES, *TARGETS)
    numbers: Row = {"lpips": "measured" if values(rows, "lpips") else "unavailable"}
    for does in ("input", "autoencoder"):
        numbers[does] = {key: mean(rows, key, does=does) for key in keys}
    for editor in (P2P, ZERO):
        some, found = where(rows, editor=editor), {}
        for name in dict.fromkeys(values(some, "code")):
            own = where(some, code=name)
            settings = points(own, "outside", "asked")[0]
            found[name] = {f"guidance {s:g}": table(own, s, keys) for s in settings}
        numbers[editor] = {"codes": found, "less ddim": against(some)}
    numbers["claims"] = [beats(numbers, editor) for editor in (P2P, ZERO)]
    return numbers


def table(rows: list[Row], setting: float, keys: Sequence[str]) -> Row:
    """Means at one guidance."""
    return {key: mean(rows, key, setting=setting) for key in keys}


def against(rows: list[Row]) -> Row:
    """Edit-friendly codes less DDIM's in one editor: target at equal structure, and the reverse."""
    plain, out = where(rows, code="ddim"), {}
    for name in dict.fromkeys(values(rows, "code")):
        if name == "ddim":
            continue
        own, found = where(rows, code=name), {}
        for (structure, sign), target in product(STRUCTURES.items(), TARGETS):
            if values(own, structure) and values(own, target):
                found[f"{target} at equal {structure}"] = ahead(own, plain, structure, target, sign)
        found["outside at equal asked"] = ahead(own, plain, "asked", "outside")
        out[name] = found
    return out


def beats(numbers: Row, editor: str) -> Row:
    """C15: at every skip, better structure at equal target, and in P2P the other way round too.

    The target is the share of edits as asked, structure the PSNR where nothing should change.
    """
    axes = ["outside at equal asked"] + (["asked at equal outside"] if editor == P2P else [])
    units = {"outside at equal asked": "dB", "asked at equal outside": ""}
    found = numbers[editor]["less ddim"]
    checks = [
        Check(f"{axis}, {name}", gaps[axis], above=0, unit=units[axis])
        for name, gaps in found.items()
        for axis in axes
    ]
    n = min((gaps[axis]["n"] for gaps in found.values() for axis in axes), default=0)
    rule = (
        f"the front of edit-friendly codes in {editor} over guidances less DDIM's: the most PSNR "
        "outside the edit at each share of edits as asked, and the reverse"
    )
    return claim("C15", checks, n, least=LEAST[editor], part=editor, rule=rule)
