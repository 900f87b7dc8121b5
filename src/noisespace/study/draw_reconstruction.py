"""Figures of the reconstruction study."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from noisespace.study.measure import Row, mean, order, values, where
from noisespace.study.sampling import NAMES
from noisespace.study.style import INK, band, below, curve, dress, figure, legend


def draw_steps(rows: list[Row], least: int) -> Figure:
    """The error in latents by the step size, on logarithmic axes, with DDIM's fitted order.

    ``least``: the fewest steps of the fit.
    """
    made = figure(6.6, 4.6)
    axes, some = made.subplots(), where(rows, part="inversion", guidance=1.0)
    errors(axes, some, "steps")
    own = where(some, method="ddim")
    steps = sorted({r["steps"] for r in own})
    fine = [n for n in steps if n >= least]
    means = [mean(own, "rms", steps=n) for n in fine]
    if len(fine) > 1:
        p = order(fine, means)
        middle = np.exp(np.mean(np.log(means))), np.exp(np.mean(np.log(fine)))
        line = [middle[0] * (middle[1] / n) ** p for n in fine]
        label = f"ddim from {least} steps: order {p:.2f}"
        axes.plot([1 / n for n in fine], line, color=INK, linewidth=0.9, label=label)
    axes.set_xscale("log")
    axes.set_xticks([1 / n for n in steps], [f"1/{n}" for n in steps])
    axes.minorticks_off()
    dress(axes, "step size, share of the schedule", "rms error in latents", "guidance 1")
    below(made, axes, 4)
    return made


def draw_guidance(rows: list[Row], guided: int) -> Figure:
    """The error in latents by the guidance of the replay."""
    made = figure(6.6, 4.6)
    axes, some = made.subplots(), where(rows, part="inversion", steps=guided)
    errors(axes, some, "guidance")
    dress(axes, "guidance w of the replay", "rms error in latents", f"{guided} steps")
    below(made, axes, 4)
    return made


def errors(axes: Axes, some: list[Row], by: str) -> None:
    """One curve a method."""
    for place, name in enumerate(dict.fromkeys(values(some, "method"))):
        own = where(some, method=name)
        at = sorted({r[by] for r in own})
        x = [1 / n for n in at] if by == "steps" else at
        curve(axes, x, [mean(own, "rms", **{by: v}) for v in at], name, place)
    axes.set_yscale("log")


def draw_samples(rows: list[Row]) -> Figure:
    """What the judge says of samples by steps: the share right, and the residual."""
    made = figure(7.0, 3.4)
    panels = made.subplots(1, 2)
    some = where(rows, part="sampling")
    steps = sorted({r["steps"] for r in some})
    for place, (eta, name) in enumerate(NAMES.items()):
        own = where(some, eta=eta)
        shares = [100 * mean(own, "right", steps=n) for n in steps]
        curve(panels[0], steps, shares, name, place)
        table = [values(own, "residual", steps=n) for n in steps]
        band(panels[1], steps, list(zip(*table, strict=True)), name, place)
    for axes in panels:
        axes.set_xscale("log")
        axes.set_xticks(steps, [str(n) for n in steps])
        axes.minorticks_off()
    panels[0].set_ylim(-5, 105)
    dress(panels[0], "steps", "samples that show their caption, %")
    dress(panels[1], "steps", "rms to the nearest rendering, of 1")
    legend(panels[0], loc="lower right")
    return made
