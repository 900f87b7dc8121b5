"""What studies measure by: PSNR, LPIPS and alignment, means with intervals, orders, uniformity."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from noisespace.bench import pixels
from noisespace.bench.lpips import LPIPS, available
from noisespace.bench.statistics import Bootstrap, Estimate
from noisespace.bench.statistics import mean as estimate
from noisespace.pictures.images import to_tensor

Row = dict[str, Any]

BEST = 60.0  # dB: what equal pictures count as
STUDENT = Bootstrap(kind="student")  # studies are of few pictures


def psnr(a: Any, b: Any, where: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio of two 8-bit pictures in dB, at most 60; ``where``: pixels."""
    x, y = (torch.from_numpy(np.asarray(p) / 255.0).permute(2, 0, 1)[None] for p in (a, b))
    region = None if where is None else torch.from_numpy(where)[None, None]
    return min(BEST, float(pixels.psnr(x, y, region)))


def summary(values: Iterable[float]) -> Row:
    """A mean with its 95 % interval and count, as JSON; NaN are left out."""
    return told(estimate(list(values), STUDENT))


def told(found: Estimate) -> Row:
    """An estimate as JSON."""
    return {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n}


def words(found: Row, form: str = ".1f", unit: str = "") -> str:
    """A summary as text."""
    if math.isnan(found["mean"]):
        return "not measured"
    low, high = found["low"], found["high"]
    known = low < high  # neither NaN nor a figure without an interval
    wide = f" [{low:{form}}, {high:{form}}]" if known else ""
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


def by_image(rows: Iterable[Row], key: str, by: str = "image") -> dict[Any, float]:
    """The mean of a column for every image that has a value."""
    found: dict[Any, list[float]] = {}
    for row in rows:
        if row.get(key) is not None:
            found.setdefault(row[by], []).append(float(row[key]))
    return {image: float(np.mean(some)) for image, some in found.items()}


def paired(a: Iterable[Row], b: Iterable[Row], key: str, by: str = "image") -> Row:
    """The summary of a - b over the images that both have."""
    ours, theirs = by_image(a, key, by), by_image(b, key, by)
    return summary(ours[image] - theirs[image] for image in ours if image in theirs)


def ratio(a: Iterable[Row], b: Iterable[Row], key: str, by: str = "image") -> Row:
    """The summary of a / b over the images that both have; 0 / 0 is 1."""
    ours, theirs = by_image(a, key, by), by_image(b, key, by)
    both = [(ours[i], theirs[i]) for i in ours if i in theirs]
    return summary(1.0 if x == y else x / y if y else math.inf for x, y in both)


def factor(a: Iterable[Row], b: Iterable[Row], key: str, by: str = "image") -> Row:
    """The geometric mean of a / b over the images that both have, all positive.

    For errors, whose ratios are spread over orders of magnitude.
    """
    ours, theirs = by_image(a, key, by), by_image(b, key, by)
    found = summary(math.log(ours[i] / theirs[i]) for i in ours if i in theirs)
    return {**found, **{k: math.exp(found[k]) for k in ("mean", "low", "high")}}


Perceptual = Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], list[float]]


@lru_cache(maxsize=1)
def lpips() -> Perceptual | None:
    """LPIPS (AlexNet) of pairs of pictures, None where it is not installed: nothing replaces it."""
    if not available("alex")[0]:
        return None
    network = LPIPS("alex")

    def distance(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> list[float]:
        x, y = (torch.cat([to_tensor(np.asarray(p)) for p in some]) for some in (a, b))
        with torch.no_grad():
            return network(x, y).tolist()

    return distance
