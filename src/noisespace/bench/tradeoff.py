"""Comparing two methods that each trade structure for editing, at equal structure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from noisespace.bench.statistics import Bootstrap, resampled
from noisespace.errors import InputError


@dataclass(frozen=True, eq=False)
class Curve:
    """A method at several settings of its knob: ``structure``, ``target`` (items, settings).

    ``structure`` is what is held equal (a structure distance, LPIPS), ``target`` what is compared
    (an alignment score).
    """

    structure: np.ndarray
    target: np.ndarray

    def __post_init__(self) -> None:
        shape = self.structure.shape
        if shape != self.target.shape or len(shape) != 2 or shape[1] < 3:
            raise InputError(
                f"got structure {shape} and target {self.target.shape}, expected twice the same "
                "(items, settings) with at least 3 settings"
            )


@dataclass(frozen=True)
class Area:
    """The mean difference of two curves over their common range of structure, and its interval.

    ``low``, ``high`` are NaN where the curves, or more than a twentieth of the resamples, have no
    common range (``apart`` counts those). ``n`` items, beside ``nan`` left out.
    """

    difference: float
    low: float
    high: float
    range: tuple[float, float]
    n: int
    nan: int
    apart: int


def area(a: Curve, b: Curve, bootstrap: Bootstrap | None = None) -> Area:
    """The mean of a's target minus b's at equal structure.

    Both curves are the means over items at each setting, joined by straight lines; the difference
    is averaged over the structures that both reach. The percentile interval is over items, drawn
    together for both methods. An item with a NaN in any setting of either is left out and counted.
    """
    if len(a.structure) != len(b.structure):
        raise InputError(
            f"got curves of {len(a.structure)} and {len(b.structure)} items, expected the same ones"
        )
    bootstrap = bootstrap or Bootstrap(kind="percentile")
    columns = np.hstack([a.structure, a.target, b.structure, b.target]).astype(np.float64)
    whole = np.isfinite(columns).all(1)
    kept, nan = columns[whole], int((~whole).sum())
    if len(kept) == 0:
        return Area(math.nan, math.nan, math.nan, (math.nan, math.nan), 0, nan, 0)
    ends = np.cumsum([a.structure.shape[1]] * 2 + [b.structure.shape[1]])
    found, reach = between(*np.split(kept.mean(0), ends))
    drawn = [between(*np.split(row, ends))[0] for row in resampled(kept, bootstrap)]
    values = np.array(drawn)
    apart = int(np.isnan(values).sum())
    low = high = math.nan
    if len(kept) > 1 and not math.isnan(found) and apart <= len(values) / 20:
        tail = (1 - bootstrap.level) / 2
        low, high = np.nanquantile(values, [tail, 1 - tail])
    return Area(found, float(low), float(high), reach, len(kept), nan, apart)


def between(
    structure_a: np.ndarray, target_a: np.ndarray, structure_b: np.ndarray, target_b: np.ndarray
) -> tuple[float, tuple[float, float]]:
    """The mean difference of two piecewise linear curves, and the common range it is over."""
    xa, ya = ordered(structure_a, target_a)
    xb, yb = ordered(structure_b, target_b)
    low, high = float(max(xa[0], xb[0])), float(min(xa[-1], xb[-1]))
    if not low < high:
        return math.nan, (math.nan, math.nan)
    knots = np.union1d(xa, xb)
    x = np.concatenate([[low], knots[(knots > low) & (knots < high)], [high]])
    gap = np.interp(x, xa, ya) - np.interp(x, xb, yb)
    # between two knots both are straight, so that the trapezium is exact
    return float(np.sum((gap[1:] + gap[:-1]) / 2 * np.diff(x)) / (high - low)), (low, high)


def ordered(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points by rising x; those at one x become their mean."""
    at, which = np.unique(x, return_inverse=True)
    return at, np.bincount(which, weights=y) / np.bincount(which)
