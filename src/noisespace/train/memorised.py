"""Whether samples are copies: each one's nearest training picture, held against unseen ones'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from noisespace.train.folder import AT_ONCE, Folder, View
from noisespace.train.pictures import save_grid

SIDE = 32  # pixels at which pictures are compared
SHOWN = 10


def memorised(pictures: Tensor, data: Folder, path: Path) -> dict[str, Any]:
    """Root mean square distances to the nearest training picture, mirrored ones included.

    Pictures (n, 3, h, h) in [-1, 1] are compared at 32 x 32 pixels. ``copies``: the share of
    samples nearer to a training picture than 99 in 100 unseen pictures are. The figure has the
    nearest pairs: samples above, their training neighbours below.
    """
    training = [View(i) for i in data.numbers(unseen=False)]
    held = [View(i) for i in data.numbers(unseen=True)]
    known = small(data, training)
    away, which = neighbours(thumbnail(pictures), known)
    real, _ = neighbours(small(data, held), known)
    least = float(real.quantile(0.01))
    first = away.argsort()[:SHOWN]
    theirs = data.pictures([training[i] for i in which[first].tolist()])
    save_grid(torch.cat([pictures[first].cpu(), theirs]), path, columns=SHOWN)
    return {
        "copies": round(float((away < least).float().mean()), 4),
        "nearest_median": round(float(away.median()), 4),
        "nearest_least": round(float(away.min()), 4),
        "unseen_median": round(float(real.median()), 4),
        "unseen_1_percent": round(least, 4),
    }


def small(data: Folder, items: list[View]) -> Tensor:
    """Many pictures as thumbnails."""
    return torch.cat([thumbnail(part) for part in data.parts(items)])


def thumbnail(x: Tensor) -> Tensor:
    return functional.interpolate(x.cpu(), size=(SIDE, SIDE), mode="area")


def neighbours(x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """(distance, number) of the nearest of ``known``, as it is or mirrored, for each of ``x``."""
    flat = known.flatten(1)
    found = []
    for some in x.split(AT_ONCE):  # (AT_ONCE, known) distances at a time
        both = torch.stack([torch.cdist(v.flatten(1), flat) for v in (some, some.flip(3))])
        found.append(both.amin(0).min(1))
    away, which = (torch.cat(part) for part in zip(*found, strict=True))
    return away / flat.shape[1] ** 0.5, which
