"""Statistics of a benchmark's values: every figure with its interval, its n and its NaN.

A NaN is a case for which a metric is undefined: it is left out and counted. An infinite value (the
PSNR of equal pictures) is counted too and kept: the mean is then infinite and has no interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from statistics import NormalDist
from typing import Literal, get_args

import numpy as np

from noisespace.errors import InputError

Values = Sequence[float] | np.ndarray
Interval = Literal["bca", "percentile", "student"]
EXACT = 12  # most differences whose signs are all tried
MOST = 2**22  # numbers at a time


@dataclass(frozen=True)
class Bootstrap:
    """How an interval is drawn: resamples of the cases, with a seed of their own.

    ``kind``: "bca" is bias-corrected and accelerated (Efron 1987), "percentile" the plain one;
    "student" draws nothing: Student's t, for so few cases that resamples of them are too alike.
    """

    level: float = 0.95
    resamples: int = 2000
    seed: int = 0
    kind: Interval = "bca"

    def __post_init__(self) -> None:
        if not 0 < self.level < 1 or self.resamples < 1 or self.kind not in get_args(Interval):
            raise InputError(
                f"got {self}, expected a level between 0 and 1, at least 1 resample, and kind bca, "
                "percentile or student"
            )


@dataclass(frozen=True)
class Estimate:
    """A mean and its interval; ``n`` values, beside ``nan`` left out; ``infinite`` of the n.

    The interval is NaN where there is none: of fewer than two values, or of infinite ones.
    """

    mean: float
    low: float
    high: float
    n: int
    nan: int = 0
    infinite: int = 0


@dataclass(frozen=True)
class PValue:
    """Two-sided; ``exact``: of all sign patterns, not of a draw of them."""

    p: float
    n: int
    nan: int
    exact: bool


@dataclass(frozen=True)
class WinRate:
    """The share of pairs that the first wins, ties counted half, and its interval."""

    rate: float
    low: float
    high: float
    ties: int
    n: int
    nan: int


def mean(values: Values, bootstrap: Bootstrap | None = None) -> Estimate:
    """The mean of values, with a bootstrap interval over them."""
    x = _array(values)
    kept = x[~np.isnan(x)]
    infinite = int(np.isinf(kept).sum())
    if infinite or len(kept) < 2:
        with np.errstate(invalid="ignore"):  # both infinities: no mean
            value = float(kept.mean()) if len(kept) else math.nan
        return Estimate(value, math.nan, math.nan, len(kept), len(x) - len(kept), infinite)
    low, high = interval(kept, bootstrap or Bootstrap())
    return Estimate(float(kept.mean()), low, high, len(kept), len(x) - len(kept))


def difference(a: Values, b: Values, bootstrap: Bootstrap | None = None) -> Estimate:
    """The mean of a - b over pairs, with an interval; pairs with a NaN are left out and counted."""
    return mean(differences(a, b), bootstrap)


def differences(a: Values, b: Values) -> np.ndarray:
    """a - b; 0 where both are the same, infinite or not (two perfect pictures do not differ)."""
    x, y = _array(a), _array(b)
    if len(x) != len(y):
        raise InputError(f"got {len(x)} and {len(y)} values, expected pairs")
    with np.errstate(invalid="ignore"):
        return np.where(x == y, 0.0, x - y)


def sign_flip(a: Values, b: Values, *, flips: int = 10_000, seed: int = 0) -> PValue:
    """The paired permutation test: how often random signs of a - b give as large a mean, or larger.

    Of up to 12 pairs all signs are tried; of more, ``flips`` drawn ones, the observed one counted
    in (so that p is never 0). NaN where no pair is left or a difference is infinite.
    """
    d = differences(a, b)
    kept = d[~np.isnan(d)]
    n, nan, exact = len(kept), len(d) - len(kept), len(kept) <= EXACT
    if n == 0 or np.isinf(kept).any():
        return PValue(math.nan, n, nan, exact)
    scale = np.abs(kept).max() or 1.0  # rounding must not tell equal sums apart
    kept = kept / scale
    least = abs(kept.sum()) - 1e-9
    if exact:
        signs = np.array(list(product((-1.0, 1.0), repeat=n)))
        return PValue(float(np.mean(np.abs(signs @ kept) >= least)), n, nan, exact)
    rng, rows = np.random.default_rng(seed), max(1, MOST // n)
    hits = 0
    for start in range(0, flips, rows):
        signs = rng.integers(0, 2, size=(min(rows, flips - start), n)) * 2.0 - 1
        hits += int(np.sum(np.abs(signs @ kept) >= least))
    return PValue((hits + 1) / (flips + 1), n, nan, exact)


def win_rate(
    a: Values, b: Values, better: Literal["up", "down"], bootstrap: Bootstrap | None = None
) -> WinRate:
    """How often a is better than b, ties counted half, with a bootstrap interval over the pairs."""
    d = differences(a, b) * (1 if better == "up" else -1)
    kept = d[~np.isnan(d)]
    wins = (np.sign(kept) + 1) / 2
    found = mean(wins, bootstrap)
    ties = int((kept == 0).sum())
    return WinRate(found.mean, found.low, found.high, ties, len(kept), len(d) - len(kept))


def holm(p: Values) -> list[float]:
    """p values adjusted for their number (Holm 1979), in the order given; a NaN is no test."""
    x = _array(p)
    adjusted = np.full(len(x), math.nan)
    tests = np.flatnonzero(~np.isnan(x))
    order = tests[np.argsort(x[tests], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(x[order] * factors))
    return adjusted.tolist()


def interval(x: np.ndarray, bootstrap: Bootstrap) -> tuple[float, float]:
    """The interval of the mean of at least two finite values."""
    if np.ptp(x) == 0:
        return float(x[0]), float(x[0])
    if bootstrap.kind == "student":
        half = student(len(x) - 1, bootstrap.level) * x.std(ddof=1) / math.sqrt(len(x))
        return float(x.mean() - half), float(x.mean() + half)
    means = resampled(x[:, None], bootstrap)[:, 0]
    tail = (1 - bootstrap.level) / 2
    shares = [tail, 1 - tail]
    # the share of resamples below the mean; ties count half, so that symmetric values have no bias
    below = (np.mean(means < x.mean()) + np.mean(means <= x.mean())) / 2
    if bootstrap.kind == "bca" and 0 < below < 1:
        around = x - x.mean()  # proportional to how far each left-out mean lies below theirs
        cube, square = (around**3).sum(), (around**2).sum()
        normal, bias, speed = NormalDist(), NormalDist().inv_cdf(below), cube / (6 * square**1.5)
        for i, share in enumerate(shares):
            z = bias + normal.inv_cdf(share)
            shares[i] = normal.cdf(bias + z / max(1 - speed * z, 1e-3))
    low, high = np.quantile(means, shares)
    return float(low), float(high)


def student(degrees: int, level: float) -> float:
    """The t below which the share ``level`` of Student's |t| lies.

    With t = sqrt(degrees) tan(angle) the density is proportional to cos(angle)^(degrees - 1).
    """
    angles = np.linspace(0, math.pi / 2, 20_001)
    density = np.cos(angles) ** (degrees - 1)
    below = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return math.sqrt(degrees) * math.tan(np.interp(level * below[-1], below, angles))


def resampled(x: np.ndarray, bootstrap: Bootstrap) -> np.ndarray:
    """The means (resamples, columns) of rows (n, columns) drawn with replacement."""
    n, rng = len(x), np.random.default_rng(bootstrap.seed)
    rows = max(1, MOST // n)
    found = []
    for start in range(0, bootstrap.resamples, rows):
        size = min(rows, bootstrap.resamples - start)
        found.append(rng.multinomial(n, np.full(n, 1 / n), size=size) @ x / n)
    return np.concatenate(found)


def _array(values: Values) -> np.ndarray:
    return np.asarray(values, dtype=np.float64).reshape(-1)
