"""What a method reaches at best while it keeps at least so much: fronts, and what lies between.

A knob that is turned too far makes both figures worse. Points of such settings say nothing of what
a method can do, so that curves through all of its points must not be compared, but fronts can.
"""

from __future__ import annotations

import math

import numpy as np

from noisespace.bench.statistics import Bootstrap, resampled
from noisespace.study.curves import curve_of
from noisespace.study.measure import Row

DRAWN = Bootstrap(kind="percentile")


def best(x: np.ndarray, y: np.ndarray, least: np.ndarray) -> np.ndarray:
    """The largest y of the settings whose x is at least so large; -inf where there is none.

    x and y (..., settings), least and the result (..., knots).
    """
    enough = x[..., None, :] >= least[..., None]
    return np.where(enough, y[..., None, :], -np.inf).max(-1)


def lead(xa: np.ndarray, ya: np.ndarray, xb: np.ndarray, yb: np.ndarray) -> np.ndarray:
    """How much higher a's front is than b's, on average over every x that both can keep.

    From the smallest x of any setting to the largest that both reach; exact for such steps. Each
    (..., settings); the result has none of them.
    """
    high = np.minimum(xa.max(-1), xb.max(-1))[..., None]
    # what only one of them keeps falls on the last knot, and has no width there
    knots = np.sort(np.minimum(np.concatenate([xa, xb], -1), high), -1)
    apart = best(xa, ya, knots) - best(xb, yb, knots)
    width = knots[..., -1] - knots[..., 0]
    # between two knots the settings count that reach the upper one
    area = (apart[..., 1:] * np.diff(knots)).sum(-1)
    return np.where(width > 0, area / np.where(width > 0, width, 1), apart[..., 0])


def ahead(a: list[Row], b: list[Row], x: str, y: str, sign: int = 1) -> Row:
    """How much higher the front of y over x is for a's rows than for b's.

    "mean" with the 95 % interval of resampled images, the fronts found anew in each; "n" images.
    ``sign``: -1 where less of x is better. Settings are compared in the mean over images.
    """
    found = [curve_of(rows, x, y) for rows in (a, b)]
    sizes = np.cumsum([c.structure.shape[1] for c in found for _ in range(2)])[:-1]
    columns = np.hstack([part for c in found for part in (sign * c.structure, c.target)])
    kept = columns[np.isfinite(columns).all(1)]
    if len(kept) == 0:
        return {"mean": math.nan, "low": math.nan, "high": math.nan, "n": 0}
    whole = float(lead(*np.split(kept.mean(0), sizes)))
    low = high = math.nan
    if len(kept) > 1:
        drawn = lead(*np.split(resampled(kept, DRAWN), sizes, axis=1))
        low, high = (float(v) for v in np.quantile(drawn, [0.025, 0.975]))
    return {"mean": whole, "low": low, "high": high, "n": len(kept)}
