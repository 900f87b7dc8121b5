"""Curves of target by structure, one a method, over the settings of its knob."""

from __future__ import annotations

import math

import numpy as np

from noisespace.bench.tradeoff import Curve
from noisespace.study.measure import Row, mean, values, where


def points(rows: list[Row], x: str, y: str) -> tuple[list[float], list[float], list[float]]:
    """A method's settings, and the means of its structure x and target y at each."""
    settings = list(dict.fromkeys(r["setting"] for r in rows))
    table = [[mean(rows, key, setting=s) for s in settings] for key in (x, y)]
    return settings, table[0], table[1]


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
