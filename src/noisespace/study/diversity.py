"""How much edits of one picture differ from seed to seed (claim C14)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from noisespace.inversion import DDIM, CycleDiffusion, EditFriendly, NegativePrompt, SDEdit
from noisespace.study.budget import Budget, Task
from noisespace.study.claims import Check, claim, exact
from noisespace.study.edited import pictures_at
from noisespace.study.finding import Finding
from noisespace.study.kept import Kept
from noisespace.study.measure import Row, lpips, mean, summary, values, where
from noisespace.study.style import Tile, dress, figure, mosaic, strip
from noisespace.study.subjects import SceneEdit, need_text, scene_edits, scores

METHODS = {
    "edit-friendly": EditFriendly(),
    "cycle-diffusion": CycleDiffusion(),
    "cycle-diffusion, eta 1": CycleDiffusion(eta=1.0),
    "sdedit": SDEdit(),
    "negative-prompt": NegativePrompt(),
    "ddim": DDIM(),
}
SHOWN = 5  # seeds in the figure
SEEN, UNSEEN = 1.0, 0.1  # levels: one is rounding that shows, a tenth none


@dataclass(frozen=True)
class Plan:
    """``images``, each edited with ``seeds`` seeds; ``steps`` None: each method's own number."""

    images: int = 6
    seeds: int = 6
    steps: int | None = None


QUICK = Plan(2, 3, 20)


def study(model: Any, budget: Budget) -> Finding:
    """Differences between the edits of one picture, over pairs of seeds, at each method's own w."""
    need_text(model, "diversity")
    plan = budget.plan(Plan(), QUICK)
    edits = scene_edits(plan.images, f"diversity {budget.seed}")
    tasks = []
    for name in METHODS:
        steps = plan.steps or METHODS[name].defaults.steps
        for i, one in enumerate(edits):
            work = partial(measured, model, name, i, one, plan, budget)
            tasks.append(Task({"method": name, "image": i}, steps * plan.seeds * 3, work))
    rows = budget.collect(tasks)
    numbers = {"n": plan.images, "seeds": plan.seeds, **summarise(rows)}
    figures = {"differences": draw(rows), "pictures": draw_pictures(budget.kept, edits[0], plan)}
    return Finding("diversity", "Diversity over seeds", numbers, rows, figures)


def measured(
    model: Any, name: str, image: int, one: SceneEdit, plan: Plan, budget: Budget
) -> list[Row]:
    """One picture by one method: rms differences of two edits, levels of 255, over all pairs."""
    edits, seeds = [one] * plan.seeds, [100 * budget.seed + s for s in range(plan.seeds)]
    pictures = pictures_at(model, edits, METHODS[name], seeds, [None], plan.steps)[0]
    for s, picture in enumerate(pictures):
        budget.kept.keep(f"{name} {image} {s}", picture)
    perceptual = lpips()
    own = scores(model, edits, pictures)
    pairs = list(combinations(pictures, 2))
    apart = [float(np.sqrt(np.mean((a.astype(float) - b) ** 2))) for a, b in pairs]
    looks = perceptual([a for a, _ in pairs], [b for _, b in pairs]) if perceptual else None
    return [
        {
            "kind": one.kind,
            "pairs": len(pairs),
            "difference": float(np.mean(apart)),
            "least pair": min(apart),
            "largest pair": max(apart),
            "lpips between edits": None if looks is None else float(np.mean(looks)),
            "outside": mean(own, "outside"),
            "asked": mean(own, "asked"),
        }
    ]


def summarise(rows: list[Row]) -> Row:
    """Means by method, and claim C14."""
    numbers: Row = {
        "lpips": "measured" if values(rows, "lpips between edits") else "unavailable",
        "methods": {},
    }
    for name in METHODS:
        some = where(rows, method=name)
        numbers["methods"][name] = {
            "difference": summary(values(some, "difference")),
            "least pair": min(values(some, "least pair"), default=math.nan),
            "largest pair": max(values(some, "largest pair"), default=math.nan),
            "lpips between edits": mean(some, "lpips between edits"),
            "outside": mean(some, "outside"),
            "asked": mean(some, "asked"),
        }
    numbers["claims"] = [diverse(rows)]
    return numbers


def diverse(rows: list[Row]) -> Row:
    """C14: a picture's edit-friendly edits differ from seed to seed, its DDIM edits do not."""
    ours, plain = where(rows, method="edit-friendly"), where(rows, method="ddim")
    unit, largest = "levels of 255", max(values(plain, "largest pair"))
    checks = [
        Check("edit-friendly", summary(values(ours, "difference")), above=SEEN, unit=unit),
        Check("largest pair of DDIM", exact(largest, len(plain)), below=UNSEEN, unit=unit),
    ]
    what = "rms difference between the edits of two seeds, the mean over a picture's pairs of seeds"
    return claim("C14", checks, len(ours), rule=what)


def draw(rows: list[Row]) -> Figure:
    """The difference between two seeds' edits, in pixels and by LPIPS, a dot a picture."""
    units = {"difference": "rms, levels of 255", "lpips between edits": "LPIPS (AlexNet)"}
    known = [key for key in units if values(rows, key)]
    made = figure(1.6 + 4.0 * len(known), 3.4)
    panels = made.subplots(1, len(known), sharey=True, squeeze=False)[0]
    for axes, key in zip(panels, known, strict=True):
        strip(axes, {name: values(rows, key, method=name) for name in METHODS}, least=0.0)
        dress(axes, f"between the edits of two seeds: {units[key]}", "")
    return made


def draw_pictures(kept: Kept, one: SceneEdit, plan: Plan) -> Figure:
    """Edits of the first picture by some seeds."""
    seeds = range(min(SHOWN, plan.seeds))
    ends = {0: Tile(one.scene.render(), "source"), 1: Tile(one.truth.render(), "true edit")}
    table = [
        [
            Tile(None, name.replace(", ", ",\n")),
            *(Tile(kept.picture(f"{name} 0 {s}")) for s in seeds),
            ends.get(i, Tile(None)),
        ]
        for i, name in enumerate(METHODS)
    ]
    return mosaic(table, ["", *(f"seed {s}" for s in seeds), ""], tile=1.2)
