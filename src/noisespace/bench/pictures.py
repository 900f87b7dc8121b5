"""Edited pictures of a benchmark: their masks, their records, and the names of their files."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import numpy as np
import torch

from noisespace.models.base import Model
from noisespace.pictures import images
from noisespace.pictures.describe import describe
from noisespace.planning.result import Result, digest, model_record
from noisespace.version import VERSION

LONGEST = 80  # characters of a file's name


def autoencoded(model: Any, pixels: np.ndarray, size: Any) -> np.ndarray:
    """A picture encoded and decoded, nothing else: uint8 of its own size."""
    fitted, done = images.fit(pixels, size, target=model.resolution, multiple=model.multiple)
    with torch.no_grad():
        x = model.encode(images.to_tensor(fitted).to(model.state_dtype))
        return images.unfit(images.to_images(model.decode(x))[0], done)


def masks_of(result: Result, count: int) -> list[np.ndarray | None]:
    """The masks that edits used, boolean (H, W), one an image."""
    found = result.mask if isinstance(result.mask, list) else [result.mask] * count
    return [None if mask is None else np.asarray(mask) > 127 for mask in found]


def plain_record(model: Model, task: str, pixels: np.ndarray) -> dict[str, Any]:
    """The record of a picture that no method edited."""
    source = {"image": [digest(pixels)]}
    return {
        "noisespace": VERSION,
        "task": task,
        "model": model_record(model),
        "source": source,
    }


def own_record(record: dict[str, Any], index: int, mask: Any) -> dict[str, Any]:
    """The record of one picture of a batch, as if it had been edited alone."""
    source = dict(record["source"])
    for name in ("prompt", "image", "size", "seed"):
        source[name] = source[name][index : index + 1]
    picture = {**record["picture"], "source": 0}
    shown = None if mask is None else describe(mask)
    own = {"source": source, "picture": picture, "mask": shown, "seed": record["seed"][index]}
    return {**record, **own}


def slug(text: str) -> str:
    """A name as a file's: what had to be changed is told apart by a hash."""
    plain = re.sub(r"[^A-Za-z0-9._=-]+", "-", text).strip("-.")[:LONGEST]
    if plain == text:
        return plain
    return f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
