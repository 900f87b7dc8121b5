"""Two dimensions: N((10, 10), I) under its exact score (arXiv 2304.06140, fig. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from noisespace.api import invert
from noisespace.code import Code
from noisespace.inversion import EditFriendly
from noisespace.models.analytic import Mixture
from noisespace.study.budget import Budget, Task
from noisespace.study.claims import Check, claim, exact
from noisespace.study.finding import Finding, Row
from noisespace.study.measure import uniformity, where
from noisespace.study.style import BLUE, INK, ORANGE, dress, figure, legend, mark
from noisespace.study.subjects import native, seeds_of

MEAN, LEAST = 10.0, 1000
KINDS = ("native", "edit-friendly")
BINS = 18  # of 10 degrees each
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
    method, options = EditFriendly(skip=0), {"steps": steps, "guidance": 1.0, "seed": list(seeds)}
    return {"native": own, "edit-friendly": invert(model, own.path[-1], "", method, **options)}


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


def histogram(rows: list[Row], kind: str) -> np.ndarray:
    """Angles in each bin, over all steps, (bins,)."""
    found = where(rows, what="angles", kind=kind)
    return np.array([r["count"] for r in found]).reshape(-1, BINS).sum(0)


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


def draw_angles(rows: list[Row], numbers: Row) -> Figure:
    """Densities of the angles between successive maps."""
    made = figure(6.0, 3.6)
    axes, edges = made.subplots(), np.linspace(0, 180, BINS + 1)
    for kind, hatch in zip(KINDS, ("", "//"), strict=True):
        count, look = histogram(rows, kind), mark(kind)
        shares = 100 * count / count.sum()
        axes.stairs(shares, edges, fill=True, color=look.colour, alpha=0.2)
        style = {"color": look.colour, "linestyle": look.line, "linewidth": 1.6}
        axes.stairs(shares, edges, **style, hatch=hatch, label=kind)
    axes.axhline(100 / BINS, color=INK, linewidth=0.8, label="uniform")
    axes.set_ylim(0)
    axes.set_xticks(range(0, 181, 30))
    y = f"share of angles, % in {180 // BINS} degrees"
    dress(axes, "angle between successive noise maps, degrees", y, f"{numbers['n']} walks each")
    legend(axes, loc="upper left")
    return made


def draw_walks(rows: list[Row]) -> Figure:
    """One walk of each kind, the drift and the noise of every step as arrows."""
    made = figure(7.0, 3.7)
    panels = made.subplots(1, 2, sharex=True, sharey=True)
    titles = {"native": "native DDPM sampling", "edit-friendly": "edit-friendly code of its end"}
    for axes, kind in zip(panels, KINDS, strict=True):
        draw_walk(axes, where(rows, what="walk", kind=kind))
        dress(axes, "x", "y" if axes is panels[0] else "", titles[kind])
    dots = Line2D([], [], color=INK, linestyle=":", linewidth=0.8)
    names = {
        "drift: to the step's mean": Line2D([], [], color=BLUE, linewidth=3),
        "noise: z times its std": (Line2D([], [], color=ORANGE, linewidth=3), dots),
        "start": Line2D([], [], color=INK, marker="s", linestyle=""),
        "end": Line2D([], [], color=INK, marker="*", markersize=9, linestyle=""),
    }
    legend(panels[0], handles=list(names.values()), labels=list(names), loc="upper left")
    return made


def draw_walk(axes: Axes, rows: list[Row]) -> None:
    """A walk over the data's circles of one and two standard deviations."""
    at, drift, noise = (
        np.array([[r[f"{name}x"], r[f"{name}y"]] for r in rows[:-1]])
        for name in ("", "drift ", "noise ")
    )
    arrows = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.006}
    axes.quiver(*at.T, *drift.T, color=BLUE, **arrows)
    axes.quiver(*(at + drift).T, *noise.T, color=ORANGE, **arrows)
    # dots along the noise tell it from the drift in print
    for a, b in zip(at + drift, at + drift + noise, strict=True):
        axes.plot([a[0], b[0]], [a[1], b[1]], ":", color=INK, linewidth=0.8)
    axes.plot(*at[0], "s", color=INK, zorder=5)
    axes.plot(rows[-1]["x"], rows[-1]["y"], "*", color=INK, markersize=9, zorder=5)
    angle = np.linspace(0, 2 * np.pi, 100)
    for radius in (1, 2):
        ring = MEAN + radius * np.array([np.cos(angle), np.sin(angle)])
        axes.plot(*ring, color=INK, linewidth=0.7, linestyle="--")
    axes.set_aspect("equal")
