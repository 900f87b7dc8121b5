"""Figures of the two-dimensional Gaussian."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from noisespace.study.measure import Row, where
from noisespace.study.style import BLUE, INK, ORANGE, dress, figure, legend, mark

MEAN = 10.0  # of both values
KINDS = ("native", "edit-friendly")
BINS = 18  # of 10 degrees each


def histogram(rows: list[Row], kind: str) -> np.ndarray:
    """Angles in each bin, over all steps, (bins,)."""
    found = where(rows, what="angles", kind=kind)
    return np.array([r["count"] for r in found]).reshape(-1, BINS).sum(0)


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
        y = "second value, in std of the data" if axes is panels[0] else ""
        dress(axes, "first value, in std of the data", y, titles[kind])
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
