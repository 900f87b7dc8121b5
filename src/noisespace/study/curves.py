"""Curves of target by structure, compared at equal structure by the benchmark's own rule."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np

from noisespace.bench.tradeoff import Curve, area
from noisespace.study.measure import Row, mean, values, where


def points(rows: list[Row], x: str, y: str) -> tuple[list[float], list[float], list[float]]:
    """A method's settings, and the means of its structure x and target y at each."""
    settings = list(dict.fromkeys(r["setting"] for r in rows))
    table = [[mean(rows, key, setting=s) for s in settings] for key in (x, y)]
    return settings, table[0], table[1]


def gap(a: list[Row], b: list[Row], x: str, y: str) -> Row:
    """How much higher y is on the first curve, on average over the x that both have.

    "mean" with the 95 % interval of resampled images ("low", "high"), "range": the common x, "n".
    """
    found = asdict(area(curve_of(a, x, y), curve_of(b, x, y)))
    return {"mean": found.pop("difference"), **found, "range": list(found["range"])}


def curve_of(rows: list[Row], x: str, y: str) -> Curve:
    """Structure and target (images, settings); NaN where an image has no value."""
    settings = list(dict.fromkeys(r["setting"] for r in rows))
    images = sorted({r["image"] for r in rows})
    by = {(r["image"], r["setting"]): r for r in where(rows)}

    def table(key: str) -> np.ndarray:
        found = [[by[i, s].get(key) for s in settings] for i in images]
        return np.array([[math.nan if v is None else float(v) for v in row] for row in found])

    return Curve(table(x), table(y))


def names_of(rows: list[Row]) -> list[str]:
    """The methods, without the do-nothing edits."""
    return [name for name in dict.fromkeys(values(rows, "method")) if name != "none"]
