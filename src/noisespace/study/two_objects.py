"""Held-out scenes of two objects: edits of one of them, their scores, where an edit may act."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from noisespace.bench.scene_judge import verdicts
from noisespace.bench.scenes import KINDS, SceneEdit, grown, scene_edits
from noisespace.study.measure import Row, mean, paired, psnr
from noisespace.study.subjects import autoencoded

SCORES = {
    "truth": "to the true edit, dB",
    "outside": "outside, dB",
    "asked": "as asked",
    "other": "other object kept",
}


def two_object_edits(count: int, seed: int = 0, kinds: Sequence[str] = KINDS) -> list[SceneEdit]:
    """Edits of those kinds in turn, the first ones of any larger count."""
    enough = -(-count // len(kinds)) * len(KINDS)
    every = scene_edits(enough, f"editors {seed}" if seed else "editors")
    return [edit for edit in every if edit.kind in kinds][:count]


def scores(some: Sequence[SceneEdit], pictures: Sequence[Any]) -> list[Row]:
    """Of each edit: PSNR to the truth and outside the edit (dB), and what the judge reads.

    "asked": the edit is there; "other": the other object is still read right.
    """
    arrays = [np.asarray(picture) for picture in pictures]
    judged = verdicts(some, np.stack(arrays))
    return [
        {
            "kind": edit.kind,
            "truth": psnr(picture, edit.truth.render()),
            "outside": psnr(picture, edit.scene.render(), ~grown(edit.touched)),
            "asked": asked,
            "other": other,
        }
        for edit, picture, (asked, other) in zip(some, arrays, judged, strict=True)
    ]


def untouched(model: Any, some: Sequence[SceneEdit]) -> dict[str, list[Row]]:
    """The scores of the do-nothing edits: the inputs, and the autoencoder's pictures of them."""
    inputs = [edit.scene.render() for edit in some]
    both = {"input": inputs, "autoencoder": autoencoded(model, inputs)}
    return {name: scores(some, pictures) for name, pictures in both.items()}


def compared(some: list[Row], base: list[Row] | None = None, name: str = "") -> Row:
    """The mean of every score; with ``base``, rows of that name, the paired differences too."""
    found: Row = {key: mean(some, key) for key in SCORES}
    if base:
        found[f"less {name}"] = {key: paired(some, base, key) for key in SCORES}
    return {**found, "n": len(some)}


def covered(mask: np.ndarray, side: int) -> np.ndarray:
    """The share of each cell of a (side, side) grid that a square mask covers."""
    cell = len(mask) // side
    return mask.reshape(side, cell, side, cell).mean((1, 3))


def iou(mask: np.ndarray, found: np.ndarray) -> float:
    """Intersection over union of a true mask and a found one, bool (h, h), of fewer pixels.

    A cell of the found one is truly inside where the mask covers more than a quarter of it.
    """
    true = covered(mask, len(found)) > 0.25
    return float((found & true).sum() / max((found | true).sum(), 1))


def share_inside(values: np.ndarray, mask: np.ndarray) -> float:
    """The share of a square map's sum that lies in a mask of more pixels."""
    return float((values * covered(mask, len(values))).sum() / values.sum())
