"""Curves of target by structure: compared where both reach, with intervals over images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from noisespace.study.measure import Row, mean, where

AGAIN = 300  # resamplings of the images
PLACES = 50  # of the structure at which two curves are compared


def points(rows: list[Row], x: str, y: str) -> tuple[list[float], list[float], list[float]]:
    """A method's settings, and the means of its structure x and target y at each."""
    settings = list(dict.fromkeys(r["setting"] for r in rows))
    table = [[mean(rows, key, setting=s) for s in settings] for key in (x, y)]
    return settings, table[0], table[1]


def gap(a: list[Row], b: list[Row], x: str, y: str, seed: int = 0) -> Row:
    """How much higher y is on the first curve, on average over the x that both have.

    With the 95 % interval of resampled images (the same ones for both); NaN where the curves have
    no x in common, "shared": the share of the resamplings that have.
    """
    tables = [table(rows, x, y) for rows in (a, b)]
    count, rng = tables[0].shape[2], np.random.default_rng(seed)
    whole = between(*(t.mean(2) for t in tables))
    draws = [rng.integers(0, count, count) for _ in range(AGAIN)]
    found = np.array([between(*(t[:, :, draw].mean(2) for t in tables)) for draw in draws])
    known = found[~np.isnan(found)]
    low, high = np.quantile(known, (0.025, 0.975)) if len(known) else (np.nan, np.nan)
    return {"mean": whole, "low": float(low), "high": float(high), "shared": len(known) / AGAIN}


def table(rows: list[Row], x: str, y: str) -> np.ndarray:
    """(x or y, setting, image)."""
    settings = list(dict.fromkeys(r["setting"] for r in rows))
    images = sorted({r["image"] for r in rows})
    found = [{r["image"]: r for r in where(rows, setting=s)} for s in settings]
    return np.array([[[float(by[i][key]) for i in images] for by in found] for key in (x, y)])


def between(a: np.ndarray, b: np.ndarray) -> float:
    """The mean of y_a(x) - y_b(x) over the x that both curves, (x or y, settings), cover."""
    (ax, ay), (bx, by) = (ordered(*curve) for curve in (a, b))
    low, high = max(ax[0], bx[0]), min(ax[-1], bx[-1])
    if low > high:
        return float("nan")
    at = np.linspace(low, high, PLACES)
    return float(np.mean(np.interp(at, ax, ay) - np.interp(at, bx, by)))


def ordered(x: Sequence[float], y: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """A curve's points by x."""
    order = np.argsort(x)
    return np.asarray(x)[order], np.asarray(y)[order]
