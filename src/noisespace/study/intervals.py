"""Means with their intervals, a row each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from noisespace.study.measure import Row
from noisespace.study.style import OTHERS


def dots(
    axes: Axes,
    found: Mapping[str, Row],
    label: str,
    place: int = 0,
    names: Sequence[str] = (),
    shift: float = 0.0,
) -> None:
    """Summaries by name as dots with bars, downwards in the order of ``names``.

    ``place``: of this group's look; ``shift``: of its dots, in rows, so that groups do not cover
    one another. A summary of nothing is left out.
    """
    names, look = list(names or found), OTHERS[place % len(OTHERS)]
    shown = {n: f for n, f in found.items() if np.isfinite(f["mean"])}
    at = [len(names) - 1 - names.index(n) - shift for n in shown]
    middle = np.array([f["mean"] for f in shown.values()])
    ends = np.array([[f["low"], f["high"]] for f in shown.values()]).reshape(-1, 2).T
    wide = np.nan_to_num(np.abs(ends - middle))
    style = {"color": look.colour, "markersize": 6, "capsize": 3, "linewidth": 1.4}
    axes.errorbar(middle, at, xerr=wide, fmt=look.marker, label=label, **style)
    axes.set_yticks(range(len(names)), names[::-1])
    axes.set_ylim(-0.6, len(names) - 0.4)
