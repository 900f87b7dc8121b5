"""Two dimensions: N((10, 10), I) under its exact score (arXiv 2304.06140, fig. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisespace.api import invert
from noisespace.core.code import Code
from noisespace.inversion import EditFriendly
from noisespace.models.families.analytic import Mixture
from noisespace.study.budget import Budget, Task
from noisespace.study.claims import Check, claim, exact
from noisespace.study.draw_gaussian import BINS, KINDS, MEAN, draw_angles, draw_walks, histogram
from noisespace.study.finding import Finding, Row
from noisespace.study.measure import uniformity
from noisespace.study.subjects import native, seeds_of

LEAST = 1000
CHANCE = 0.001  # a p below which angles are not uniform


@dataclass(frozen=True)
class Plan:
    """``images``: walks of each kind, at least 1000; ``steps`` of each."""

    images: int = 5000
    steps: int = 40


QUICK = Plan(images=LEAST)


def study(model: Any, budget: Budget) -> Finding:
    """Walks of native sampling and of edit-friendly codes of the same points; their noise's angles.

    ``model`` is not used: the data are the Gaussian of the paper and the score is exact.
    """
    plan = budget.plan(Plan(), QUICK)
    gaussian = Mixture({"": torch.full((2, 1, 1), MEAN, dtype=torch.float64)})
    seeds = seeds_of(budget.seed, max(plan.images, LEAST))

    def work() -> list[Row]:
        codes = walks(gaussian, plan.steps, seeds)
        rows = [r for kind, code in codes.items() for r in walk(kind, code)]
        return rows + [r for kind, code in codes.items() for r in counts(kind, angles(code))]

    key = {"walks": len(seeds), "steps": plan.steps}
    rows = budget.collect([Task(key, 1, work)])
    numbers = summarise(rows)
    title = "Noise maps of a two-dimensional Gaussian"
    figures = {"walks": draw_walks(rows), "angles": draw_angles(rows, numbers)}
    return Finding("gaussian", title, numbers, rows, figures)


def walks(model: Mixture, steps: int, seeds: Sequence[int]) -> dict[str, Code]:
    """Native walks, and edit-friendly codes of the points at which they end."""
    own = native(model, [""] * len(seeds), seeds, steps=steps)
    exact: Any = model  # a Model in all but the annotations
    code = invert(
        exact, own.path[-1], "", EditFriendly(0), steps=steps, guidance=1.0, seed=list(seeds)
    )
    return {"native": own, "edit-friendly": code}


def maps_of(code: Code) -> Tensor:
    """The noise maps of the steps that have some, (steps, images, values)."""
    z = code.noise_maps().flatten(2)
    return z[z.abs().amax((1, 2)) > 0]


def angles(code: Code) -> Tensor:
    """Degrees in [0, 180] between the noise maps of successive steps, (steps - 1, images)."""
    z = maps_of(code)
    return torch.rad2deg(torch.cosine_similarity(z[1:], z[:-1], dim=2).clamp(-1, 1).acos())


def counts(kind: str, found: Tensor) -> list[Row]:
    """How many angles fall into each bin, by step."""
    edges = np.linspace(0, 180, BINS + 1)
    return [
        {
            "what": "angles",
            "kind": kind,
            "step": k,
            "from": edges[j],
            "to": edges[j + 1],
            "count": n,
        }
        for k, values in enumerate(found.numpy())
        for j, n in enumerate(np.histogram(values, edges)[0].tolist())
    ]


def walk(kind: str, code: Code, image: int = 0) -> list[Row]:
    """One walk: where each step starts, what the mean (drift) and the noise of the step add."""
    assert code.residual is not None
    path, noise = code.path[:, image, :, 0, 0], code.residual[:, image, :, 0, 0]
    drift = path[1:] - noise - path[:-1]
    names = ("x", "y", "drift x", "drift y", "noise x", "noise y")
    places = [*torch.cat([path[:-1], drift, noise], 1).tolist(), path[-1].tolist()]
    head = {"what": "walk", "kind": kind}
    # the last place is where the walk ends: no step starts there
    return [
        {**head, "step": k, **dict(zip(names, place, strict=False))}
        for k, place in enumerate(places)
    ]


def summarise(rows: list[Row]) -> Row:
    """The figures of both kinds, and claim C9 in two dimensions."""
    numbers: Row = {"n": rows[0]["walks"], "steps": rows[0]["steps"]}
    for kind in KINDS:
        count = histogram(rows, kind)
        share = count / count.sum()
        numbers[kind] = {
            "angles": int(count.sum()),
            **uniformity(count),
            "fullest bin begins at": float(10 * count.argmax()),
            "share above 90": float(share[BINS // 2 :].sum()),
            "density at 180 against uniform": float(share[-1] * BINS),
        }
    numbers["claims"] = [opposed(numbers)]
    return numbers


def opposed(numbers: Row) -> Row:
    """C9 in two dimensions: native angles are uniform, edit-friendly ones peak at 180 degrees."""
    own, ours = (numbers[kind] for kind in KINDS)
    walks = numbers["n"]
    checks = [
        Check("p of uniformity (chi-square), native", exact(own["p"], walks), above=CHANCE),
        Check(
            "p of uniformity, edit-friendly",
            exact(ours["p"], walks),
            below=CHANCE,
            form=".1g",
        ),
        Check(
            "where the fullest bin of edit-friendly angles begins",
            exact(ours["fullest bin begins at"], walks),
            above=179 - 180 / BINS,
            unit="degrees",
            form=".0f",
        ),
    ]
    return claim("C9", checks, walks, least=LEAST, part="angles in two dimensions")
