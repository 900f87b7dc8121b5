"""Figures of what an edit takes."""

from __future__ import annotations

from matplotlib.figure import Figure

from noisespace.study.measure import Row, mean, summary, values, where
from noisespace.study.style import BLUE, INK, ORANGE, TEXT, dress, figure

NUMBERS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def draw_seconds(rows: list[Row]) -> Figure:
    """Bars of seconds, slowest below, with intervals and the evaluations of the network."""
    names = ordered(rows)
    made = figure(7.4, 0.32 * len(names) + 0.9)
    axes = made.subplots()
    for y, name in enumerate(reversed(names)):
        found = summary(values(rows, "seconds", method=name))
        low = max(found["low"], found["mean"] / 3)  # an interval below zero has no place here
        wide = [[found["mean"] - low], [found["high"] - found["mean"]]]
        look = {"color": BLUE, "height": 0.62, "ecolor": INK, "capsize": 3}
        axes.barh(y, found["mean"], xerr=wide, **look)
        count = f"  {mean(rows, 'evaluations', method=name):.0f}"
        axes.text(found["high"], y, count, fontsize=TEXT, va="center")
    axes.set_yticks(range(len(names)), names[::-1])
    axes.set_xscale("log")
    nice(axes, "x", [mean(rows, "seconds", method=name) for name in names])
    title = "beside the bars: network evaluations an edit (forward)"
    dress(axes, "seconds an edit, inversion included", "", title)
    axes.grid(axis="y", visible=False)
    return made


def draw_evaluations(rows: list[Row]) -> Figure:
    """Seconds against evaluations: what lies above the line does more than run the network."""
    names = ordered(rows)
    made = figure(7.4, 4.6)
    axes = made.subplots()
    x = [mean(rows, "evaluations", method=name) for name in names]
    y = [mean(rows, "seconds", method=name) for name in names]
    each = min(b / a for a, b in zip(x, y, strict=True))
    ends = [min(x), max(x)]
    label = f"{1000 * each:.1f} ms an evaluation"
    axes.plot(ends, [each * v for v in ends], color=INK, linewidth=1, linestyle=":", label=label)
    axes.plot(x, y, "o", color=ORANGE, markeredgecolor=INK)
    for number, at in enumerate(zip(x, y, strict=True), 1):
        axes.text(*at, f" {number}", fontsize=TEXT, va="bottom")
    axes.set_xscale("log")
    axes.set_yscale("log")
    nice(axes, "x", x)
    nice(axes, "y", y)
    dress(axes, "network evaluations an edit (forward)", "seconds an edit")
    axes.legend(fontsize=TEXT, frameon=False, loc="upper left")
    key = "\n".join(f"{i}  {name}" for i, name in enumerate(names, 1))
    made.text(1.01, 0.5, key, fontsize=TEXT, va="center", transform=axes.transAxes)
    return made


def nice(axes, which: str, found: list[float]) -> None:
    """Round numbers on a logarithmic axis, a factor of two around what is shown."""
    low, high = min(found) / 2, 2 * max(found)
    ticks = [n * 10**e for e in (-3, 0, 3) for n in NUMBERS[:-1]]
    ticks = [t for t in ticks if low <= t <= high]
    getattr(axes, f"set_{which}ticks")(ticks, [f"{t:g}" for t in ticks])
    getattr(axes, f"set_{which}lim")(low, high)
    axes.tick_params(which="minor", length=0, labelbottom=False, labelleft=False)


def ordered(rows: list[Row]) -> list[str]:
    """The methods by their mean seconds, fastest first."""
    names = dict.fromkeys(values(rows, "method"))
    return sorted(names, key=lambda name: mean(where(rows, method=name), "seconds"))
