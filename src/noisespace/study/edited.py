"""Edits of scenes by a method, batch by batch: what the last three studies are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from noisespace.api import edit, invert
from noisespace.study.measure import Row
from noisespace.study.subjects import SceneEdit, autoencoded, scores


def pictures_at(
    model: Any,
    edits: Sequence[SceneEdit],
    method: Any,
    seeds: Sequence[int],
    weights: Sequence[float | None],
    steps: int | None = None,
) -> list[list[np.ndarray]]:
    """The edits at each guidance of ``weights`` (None: the method's own), of one inversion."""
    scenes, prompts = [e.scene for e in edits], [e.scene.caption for e in edits]
    code = invert(model, scenes, prompts, method, steps=steps, seed=list(seeds))
    targets = [e.truth.caption for e in edits]
    found = [edit(model, code, targets, guidance=w).images for w in weights]
    return [[np.asarray(p) for p in some] for some in found]


def untouched(model: Any, edits: Sequence[SceneEdit]) -> dict[str, list[Row]]:
    """The scores of the do-nothing edits: the inputs, and the autoencoder's pictures of them."""
    inputs = [e.scene.render() for e in edits]
    both = {"input": inputs, "autoencoder": autoencoded(model, inputs)}
    found = {name: scores(model, edits, pictures) for name, pictures in both.items()}
    return {
        name: [{"image": i, **row} for i, row in enumerate(rows)] for name, rows in found.items()
    }
