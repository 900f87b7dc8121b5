"""What the source caption has to name (claim C21)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from noisespace.api import edit, invert
from noisespace.bench.scenes import SceneEdit
from noisespace.editing import PromptToPrompt
from noisespace.inversion import EditFriendly, NegativePrompt
from noisespace.study.budget import Budget, Task
from noisespace.study.claims import Check, claim
from noisespace.study.draw_captions import draw_grid, draw_shares
from noisespace.study.finding import Finding
from noisespace.study.kept import Kept
from noisespace.study.looking import differences, looks
from noisespace.study.measure import Row, mean, paired, values, where
from noisespace.study.source_captions import (
    ALONE,
    CONTROLS,
    FULL,
    NAMES,
    WITHOUT,
    source,
    target,
)
from noisespace.study.subjects import need_text, seeds_of
from noisespace.study.two_objects import compared, scores, two_object_edits, untouched

BATCH = 17
KINDS = ("colour", "shape", "texture")  # of one object: what a caption can name or leave out
INVERSIONS = {"edit-friendly": EditFriendly(), "negative-prompt": NegativePrompt()}
EDITORS = {"prompt-to-prompt": PromptToPrompt(), "none": None}
MAIN = ("edit-friendly", "prompt-to-prompt")
WAYS = (MAIN, ("negative-prompt", "prompt-to-prompt"), ("edit-friendly", "none"))
MAPS = ("noun", "noun iou", "best word", "mask share", "mask iou")
LEAST = 10  # scenes


@dataclass(frozen=True)
class Plan:
    """All inversions on as many ``steps``."""

    images: int = 12
    steps: int = 50


QUICK = Plan(2, 6)


def study(model: Any, budget: Budget) -> Finding:
    """The same pictures under several source captions: attention, DiffEdit's maps, edits."""
    need_text(model, "captions")
    plan = budget.plan(Plan(), QUICK)
    every = two_object_edits(plan.images, budget.seed, KINDS)
    rows = budget.collect(tasks(model, every, plan, budget))
    first = {name: source(name, every[0]) for name in NAMES}
    numbers = {"n": plan.images, "steps": plan.steps, "of the first scene": first}
    numbers |= summarise(rows)
    figures = {"shares": draw_shares(rows, WAYS), "grid": draw_grid(budget.kept, every, rows, MAIN)}
    return Finding("captions", "Source captions", numbers, rows, figures)


def tasks(model: Any, every: list[SceneEdit], plan: Plan, budget: Budget) -> list[Task]:
    """By batch of scenes: doing nothing, and each way under each caption."""
    out = []
    for start in range(0, len(every), BATCH):
        some = every[start : start + BATCH]
        work = partial(nothing, model, some, start)
        out.append(Task({"inversion": "none", "from": start}, len(some), work))
        for way in WAYS:
            for name in NAMES:
                if way != MAIN and name in CONTROLS:
                    continue
                key = {"inversion": way[0], "editor": way[1], "caption": name, "from": start}
                seeds = seeds_of(budget.seed, len(every))[start:]
                work = partial(one, model, key, some, (plan.steps, seeds), budget.kept)
                out.append(Task(key, 5 * plan.steps * len(some), work))
    return out


def nothing(model: Any, some: Sequence[SceneEdit], start: int) -> list[Row]:
    """The do-nothing edits."""
    return [
        {"inversion": name, "image": i, **row}
        for name, found in untouched(model, some).items()
        for i, row in enumerate(found, start)
    ]


def one(
    model: Any,
    key: Row,
    some: Sequence[SceneEdit],
    options: tuple[int, Sequence[int]],
    kept: Kept,
) -> list[Row]:
    """One source caption under one way; ``options``: steps and seeds. Maps under the main way."""
    name, start, way = key["caption"], key["from"], (key["inversion"], key["editor"])
    steps, seeds = options
    sources, targets = [source(name, e) for e in some], [target(name, e) for e in some]
    with_seeds = {"steps": steps, "seed": list(seeds)[: len(some)]}
    code = invert(model, [e.scene for e in some], sources, INVERSIONS[way[0]], **with_seeds)
    pictures = edit(model, code, targets, editor=EDITORS[way[1]]).images
    rows = [{"image": start + i, **row} for i, row in enumerate(scores(some, pictures))]
    if way == MAIN:
        for row, picture in zip(rows, pictures, strict=True):
            kept.keep(f"{name} {row['image']}", picture)
        for found in (looks, differences):
            more = found(model, code, name, some, start, kept)
            rows = [{**row, **extra} for row, extra in zip(rows, more, strict=True)]
    return rows


def of(rows: list[Row], way: tuple[str, str], caption: str) -> list[Row]:
    """The rows of a way under a caption."""
    return where(rows, inversion=way[0], editor=way[1], caption=caption)


def summarise(rows: list[Row]) -> Row:
    """Maps and edits by caption, beside the full one's, and the claim's parts."""
    numbers: Row = {"maps": {}, "edits": {}, "chance": {}}
    full = of(rows, MAIN, FULL)
    for key in ("area", "touched"):
        numbers["chance"][key] = mean(full, key)
    for name in NAMES:
        own = of(rows, MAIN, name)
        numbers["maps"][name] = {
            key: {"mean": mean(own, key), "less full": paired(own, full, key)}
            for key in MAPS
            if values(own, key)
        }
    for way in WAYS:
        base = of(rows, way, FULL)
        named = {name: of(rows, way, name) for name in NAMES}
        found = {n: compared(own, base, FULL) for n, own in named.items() if own}
        for name in WITHOUT:
            found[f"{ALONE} less {name}"] = compared(named[ALONE], named[name], name)
        numbers["edits"][" + ".join(way)] = found
    for name in ("input", "autoencoder"):
        numbers["edits"][name] = compared(where(rows, inversion=name))
    numbers["claims"] = [attention(rows), better(rows, FULL), better(rows, ALONE)]
    return numbers


def attention(rows: list[Row]) -> Row:
    """C21: some word looks at the edited object more than under captions that do not name it."""
    own, checks = of(rows, MAIN, FULL), []
    for name in (n for n in WITHOUT if n != "empty"):  # which has no words
        gap = paired(own, of(rows, MAIN, name), "best word")
        checks.append(Check(f"less that under {name}", gap, above=0))
    rule = "share of the best word's attention that lies in the edited object, full caption"
    return claim("C21", checks, len(own), least=LEAST, part="attention", rule=rule)


def better(rows: list[Row], caption: str) -> Row:
    """C21: edits under a caption that names the region are nearer to the true ones."""
    own, checks = of(rows, MAIN, caption), []
    for name in WITHOUT:
        gap = paired(own, of(rows, MAIN, name), "truth")
        checks.append(Check(f"less {name}", gap, above=0, unit="dB"))
    rule = f"PSNR to the true edit, {' and '.join(MAIN)}, caption: {caption}"
    part = f"edits, {'the full caption' if caption == FULL else 'naming the region alone'}"
    return claim("C21", checks, len(own), least=LEAST, part=part, rule=rule)
