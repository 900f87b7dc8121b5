"""Distances between predictions of noise along a DDIM pivot, in units of the step's own |eps|."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisespace.core.code import Code
from noisespace.core.condition import Condition
from noisespace.study.measure import Row


def noise(model: Any, code: Code, k: int, text: Condition) -> Tensor:
    """eps at the pivot's level k under a text, (b, c, h, w)."""
    return model.denoise(code.path[k], code.grid.level(k), text).eps


def apart(a: Tensor, b: Tensor, unit: Tensor) -> list[float]:
    """|a - b| / |unit| of each image."""
    return ((a - b).flatten(1).norm(dim=1) / unit.flatten(1).norm(dim=1)).tolist()


@torch.no_grad()
def from_pivot(model: Any, code: Code, prompts: Sequence[str]) -> list[Row]:
    """By image: distances along the pivot, a list by step each.

    "adjacent": to the next step; "level": to another step of the image's pivot, drawn at random;
    "stranger": to the same step of another scene; "guidance": from the source text to "".
    """
    text, null = model.embed(list(prompts)), model.embed([None] * len(prompts))
    steps, rng, out = len(code.grid), random.Random("levels"), {}
    own = torch.stack([noise(model, code, k, text) for k in range(steps + 1)])
    images = torch.arange(len(prompts))
    for k in range(steps):
        others = [j for j in range(steps) if abs(j - k) > 1] or [k]
        far = rng.choices(others, k=len(prompts))
        ends = {"adjacent": own[k + 1], "level": own[far, images], "stranger": own[k].roll(1, 0)}
        ends["guidance"] = noise(model, code, k, null)
        for name, end in ends.items():
            out.setdefault(name, []).append(apart(own[k], end, own[k]))
    return by_image(out)


@torch.no_grad()
def from_null(model: Any, code: Code, prompts: Sequence[str]) -> list[Row]:
    """By image and step, at the pivot: from eps(null*) to eps(text) and to eps("")."""
    text, null = model.embed(list(prompts)), model.embed([None] * len(prompts))
    out: dict[str, list[list[float]]] = {"text": [], "empty": []}
    assert code.null is not None
    for k in range(len(code.grid)):
        own, empty = noise(model, code, k, text), noise(model, code, k, null)
        found = noise(model, code, k, null.with_text(code.null[k]))
        out["text"].append(apart(found, own, own))
        out["empty"].append(apart(found, empty, own))
    return by_image(out)


def by_image(lists: dict[str, list[list[float]]]) -> list[Row]:
    """{name: steps x images} as one {name: steps} an image."""
    turned = {name: np.array(rows).T.round(5).tolist() for name, rows in lists.items()}
    return [dict(zip(turned, found, strict=True)) for found in zip(*turned.values(), strict=True)]
