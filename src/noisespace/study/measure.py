"""What studies measure by: PSNR, intervals, orders of convergence, the judge, LPIPS."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

Row = dict[str, Any]

BEST = 60.0  # dB: what equal pictures count as
# the 97.5 % quantiles of Student's t, by degrees of freedom from 1 on
STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14)
STUDENT += (2.13, 2.12, 2.11, 2.10, 2.09, 2.09, 2.08, 2.07, 2.07, 2.06, 2.06, 2.06, 2.05, 2.05)


def psnr(a: Any, b: Any, where: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio of two 8-bit pictures in dB, at most 60; ``where``: pixels."""
    error = (np.asarray(a, float) - np.asarray(b, float)) ** 2
    mean = error.mean() if where is None else error[where].mean()
    return float(min(BEST, -10 * np.log10(max(mean, 1e-9) / 255**2)))


def interval(values: Iterable[float]) -> tuple[float, float]:
    """The mean, and half of its 95 % interval (Student's t below 30 values; NaN of one)."""
    array = np.array(list(values), float)
    if len(array) < 2:
        return float(array.mean()) if len(array) else math.nan, math.nan
    quantile = STUDENT[len(array) - 2] if len(array) - 2 < len(STUDENT) else 1.96
    return float(array.mean()), float(quantile * array.std(ddof=1) / len(array) ** 0.5)


def summary(values: Iterable[float]) -> Row:
    """A mean with its interval and count, as JSON."""
    array = list(values)
    mean, half = interval(array)
    return {"mean": mean, "half": half, "n": len(array)}


def above(found: Row) -> bool:
    """Whether a mean difference is above 0, by its interval; of one value by itself."""
    half = found["half"]
    return found["mean"] > (0 if half is None or math.isnan(half) else half)


def words(found: Row, form: str = ".1f", unit: str = "") -> str:
    """A summary as text."""
    half = found["half"]
    wide = "" if half is None or math.isnan(half) else f" +- {half:{form}}"
    return f"{found['mean']:{form}}{wide}{unit and ' ' + unit}"


def order(steps: Sequence[float], errors: Sequence[float]) -> float:
    """p of error ~ (1 / steps)^p: the slope of a line through the logarithms, least squares."""
    x, y = -np.log(np.asarray(steps, float)), np.log(np.asarray(errors, float))
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / (x * x).sum())


def uniformity(count: np.ndarray) -> Row:
    """Pearson's test that all bins are equally likely: chi-square, its degrees of freedom, p."""
    expected = count.sum() / len(count)
    chi2, free = float(((count - expected) ** 2 / expected).sum()), len(count) - 1
    p = torch.special.gammaincc(torch.tensor(free / 2.0), torch.tensor(chi2 / 2.0))
    return {"chi2": chi2, "degrees": free, "p": float(p)}


def where(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    """The rows with these values."""
    return [row for row in rows if all(row.get(k) == v for k, v in wanted.items())]


def values(rows: Iterable[Row], key: str, **wanted: Any) -> list[Any]:
    """One column of the rows with these values, without gaps."""
    return [row[key] for row in where(rows, **wanted) if row.get(key) is not None]


def mean(rows: Iterable[Row], key: str, **wanted: Any) -> float:
    """The mean of a column over the rows with these values; NaN where there are none."""
    found = values(rows, key, **wanted)
    return float(np.mean(found)) if found else math.nan


def paired(a: Iterable[Row], b: Iterable[Row], key: str, by: str = "image") -> Row:
    """The summary of a - b, paired by image."""
    other = {row[by]: row[key] for row in b if row.get(key) is not None}
    both = [r for r in a if r[by] in other and r.get(key) is not None]
    return summary(float(r[key]) - float(other[r[by]]) for r in both)


Perceptual = Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], list[float]]


def lpips() -> Perceptual | None:
    """LPIPS (AlexNet) of pairs of pictures, None where it is not installed: nothing replaces it."""
    name = "noisespace.bench.lpips"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError:
        return None
    there = module.available("alex")
    if not (there[0] if isinstance(there, tuple) else there):
        return None
    network = module.LPIPS("alex")

    def distance(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> list[float]:
        from noisespace.images import to_tensor

        x, y = (torch.cat([to_tensor(np.asarray(p)) for p in some]) for some in (a, b))
        with torch.no_grad():
            return network(x, y).tolist()

    return distance
