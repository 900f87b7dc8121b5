"""Figures of what an edit takes."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from noisespace.study.intervals import dots
from noisespace.study.measure import Row, mean, summary, values, where
from noisespace.study.style import BLUE, INK, TEXT, dress, figure

NUMBERS = (1, 2, 5, 10, 20, 50, 100, 200, 500)


def draw_seconds(rows: list[Row]) -> Figure:
    """Bars of seconds, slowest below, with intervals and the evaluations of the network."""
    names = ordered(rows)
    made = figure(7.4, 0.32 * len(names) + 0.9)
    axes = made.subplots()
    for y, name in enumerate(reversed(names)):
        found = summary(values(rows, "seconds", method=name))
        # one repetition has no interval, and one below zero no place on such an axis
        low = np.fmax(found["low"], found["mean"] / 3)
        high = np.fmax(found["high"], found["mean"])
        wide = [[found["mean"] - low], [high - found["mean"]]]
        look = {"color": BLUE, "height": 0.62, "ecolor": INK, "capsize": 3}
        axes.barh(y, found["mean"], xerr=wide, **look)
        count = f"  {mean(rows, 'evaluations', method=name):.0f}"
        axes.text(high, y, count, fontsize=TEXT, va="center")
    axes.set_yticks(range(len(names)), names[::-1])
    axes.set_xscale("log")
    round_ticks(axes, [mean(rows, "seconds", method=name) for name in names])
    title = "beside the bars: network evaluations an edit (forward)"
    dress(axes, "seconds an edit, inversion included", "", title)
    axes.grid(axis="y", visible=False)
    return made


def draw_evaluations(rows: list[Row]) -> Figure:
    """Milliseconds an evaluation: larger calls take less each, gradients and attention more."""
    names = ordered(rows)
    made = figure(7.4, 0.3 * len(names) + 0.8)
    axes, found = made.subplots(), {}
    for name in names:
        some = where(rows, method=name)
        found[name] = summary(1000 * r["seconds"] / r["evaluations"] for r in some)
    dots(axes, found, "")
    axes.set_xlim(0, None)
    dress(axes, "milliseconds an evaluation (all work of the edit)", "")
    return made


def round_ticks(axes: Axes, found: list[float]) -> None:
    """Round numbers on a logarithmic axis, with room around what is shown."""
    low, high = min(found) / 2, 3 * max(found)
    ticks = [n * scale for scale in (0.001, 1, 1000) for n in NUMBERS]
    ticks = [t for t in ticks if low <= t <= high]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.set_xlim(low, high)
    axes.minorticks_off()


def ordered(rows: list[Row]) -> list[str]:
    """The methods by their mean seconds, fastest first."""
    names = dict.fromkeys(values(rows, "method"))
    return sorted(names, key=lambda name: mean(where(rows, method=name), "seconds"))
