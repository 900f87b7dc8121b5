"""Measuring a batch of edits with the metrics of the benchmark."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from noisespace.bench.definitions import METRICS, Metric
from noisespace.bench.edited import Edit, stack
from noisespace.bench.judges import Judges
from noisespace.bench.weights import UnavailableError
from noisespace.errors import InputError

__all__ = ["METRICS", "Edit", "Judges", "Measured", "Metric", "by_case", "find", "measure"]

MOST_ROWS, MOST_PIXELS = 16, 2**20  # of a batch, so that VGG's features fit in a small memory


@dataclass(frozen=True)
class Measured:
    """One metric's values, one a case: NaN where it is undefined, ``reason`` says why.

    ``values`` is None where the metric could not be measured at all ("unavailable: ...").
    """

    metric: Metric
    values: tuple[float, ...] | None
    reason: str | None = None


def undefined(metric: Metric, case: Edit) -> str | None:
    """Why a metric has no value for a case, or None."""
    height, width = case.size
    if min(height, width) < metric.smallest:
        return f"undefined at {width} x {height} px (needs {metric.smallest})"
    region = case.region(metric.region)
    if region is None:
        return "no mask"
    if not region.any():
        return f"no pixel {metric.region} the mask"
    missing = [name for name in metric.prompts if not getattr(case, f"{name}_prompt")]
    return f"no {missing[0]} prompt" if missing else None


def measure(
    cases: Sequence[Edit], metrics: Sequence[str | Metric], judges: Judges | None = None
) -> dict[str, Measured]:
    """Every metric of every case, by the metrics' names.

    A metric whose network is not here has no values but a reason, and the others are measured; a
    case for which a metric is undefined is NaN, and counted in the reason. Raises InputError for
    names that are no metric's.
    """
    chosen = [metric if isinstance(metric, Metric) else find(metric) for metric in metrics]
    with torch.no_grad():
        return {m.name: _measured(m, cases, judges or Judges()) for m in chosen}


def find(name: str) -> Metric:
    """A metric by its name; InputError, listing the names, where there is none."""
    if name not in METRICS:
        raise InputError(f"got {name!r} as metric, expected one of {', '.join(METRICS)}")
    return METRICS[name]


def by_case(measured: dict[str, Measured]) -> list[dict[str, float | None]]:
    """One row a case, name -> value; None where a metric is unavailable."""
    count = max((len(m.values) for m in measured.values() if m.values is not None), default=0)
    return [
        {name: None if m.values is None else m.values[i] for name, m in measured.items()}
        for i in range(count)
    ]


def _measured(metric: Metric, cases: Sequence[Edit], judges: Judges) -> Measured:
    reasons = [undefined(metric, case) for case in cases]
    values = [math.nan] * len(cases)
    try:
        for rows in _batches(cases, [i for i, reason in enumerate(reasons) if reason is None]):
            found = metric.value(stack([cases[i] for i in rows], metric.region), judges)
            for i, value in zip(rows, found.tolist(), strict=True):
                values[i] = value
                reasons[i] = "the value is not a number" if math.isnan(value) else None
    except UnavailableError as error:
        return Measured(metric, None, f"unavailable: {error}")
    counts = Counter(reason for reason in reasons if reason is not None)
    told = "; ".join(f"{n} of {len(cases)}: {reason}" for reason, n in counts.items())
    return Measured(metric, tuple(values), told or None)


def _batches(cases: Sequence[Edit], rows: Sequence[int]) -> Iterator[list[int]]:
    """Rows of one size together, as many as fit."""
    sizes: dict[tuple[int, int], list[int]] = {}
    for i in rows:
        sizes.setdefault(cases[i].size, []).append(i)
    for (height, width), same in sizes.items():
        most = max(1, min(MOST_ROWS, MOST_PIXELS // (height * width)))
        yield from (same[i : i + most] for i in range(0, len(same), most))
