"""Painted masks: where an edit may act; outside, every step keeps the source's state."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from noisespace.core.code import Code
from noisespace.core.controls import Controls
from noisespace.editing.context import EditContext
from noisespace.errors import InputError
from noisespace.pictures import images
from noisespace.pictures.describe import describe

FINE = 8  # pixels a latent position has along a side, or more


def latent_masks(mask: Any, context: EditContext) -> Tensor:
    """Painted masks as weights (image or 1, 1, 1, H, W) in [0, 1], finer than the latent.

    ``mask``: path, PIL image, or array (h, w) of bool, uint8 or float in [0, 1], of any size, white
    where the edit acts, grey where it blends; one for all images, or a list with one an image.
    Raises InputError for an empty one or one of another aspect than the image; warns of a full one.
    """
    given = list(mask) if isinstance(mask, (list, tuple)) else [mask]
    if len(given) not in (1, context.images):
        raise InputError(
            f"got {len(given)} masks for {context.images} images: give one for all, or one an image"
        )
    return torch.cat([latent_mask(one, context) for one in given])


def latent_mask(mask: Any, context: EditContext) -> Tensor:
    """One painted mask as weights (1, 1, 1, H, W)."""
    picture, size = as_grey(mask), (FINE * context.latent[0], FINE * context.latent[1])
    check_aspect(picture.shape, context.code)
    small = Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.BOX)
    weights = torch.from_numpy(np.array(small)).float() / 255
    if not bool((weights > 0).any()):
        raise InputError("the mask is empty (all black): paint white where the edit should act")
    if bool((weights == 1).all()):
        warnings.warn("the mask is full (all white): the edit acts as without one", stacklevel=2)
    return weights.view(1, 1, 1, *size)


def mask_word(mask: Any) -> str | None:
    """What a record says of a mask: what finds it, or the hash of its grey pixels.

    The same picture has the same hash, whether it came as a file or as pixels.
    """
    if mask is None or callable(getattr(mask, "mask", None)):
        return None if mask is None else describe(mask)
    if isinstance(mask, (list, tuple)):
        return f"({', '.join(str(mask_word(one)) for one in mask)})"
    return describe(as_grey(mask))


def check_aspect(shape: tuple[int, ...], code: Code) -> None:
    """Refuses a mask (h, w) whose aspect is neither an image's nor the latent's, within 3 %."""
    ours = [tuple(code.path.shape[-2:]), *(fit["original"] for fit in code.info.fit)]
    ratio = shape[1] / shape[0]
    if all(abs(ratio * h / w - 1) > 0.03 for h, w in ours):
        h, w = ours[-1]
        raise InputError(
            f"the mask is {shape[1]} x {shape[0]}, of another aspect than the image, {w} x {h}: "
            "paint it over the image itself"
        )


def as_grey(mask: Any) -> np.ndarray:
    """uint8 (h, w) of anything that can be a mask."""
    if isinstance(mask, (str, Path, Image.Image)):
        return np.array(Image.fromarray(images.load(mask)).convert("L"))
    array = np.asarray(mask)
    if array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8:
        return np.array(Image.fromarray(array).convert("L"))
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(
            f"got a mask of shape {array.shape}, expected a picture, uint8 (height, width, 3), "
            "or an array (height, width)"
        )
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "f" and array.min() >= 0 and array.max() <= 1:
        return (array * 255).round().astype(np.uint8)
    raise InputError("got a mask of numbers outside [0, 1], expected bool, uint8 or floats in it")


def keep_outside(controls: Controls | None, weights: Tensor) -> Controls:
    """Blends each state with the source row's outside the mask, after whatever controls do.

    ``weights`` (image or 1, target or 1, 1, H, W) in [0, 1], of the latent's size or finer; the
    picture is put together by the finer ones (see ``result.pictures``).
    """
    controls = controls or Controls()
    inner = controls.after

    def after(step: int, x: Tensor) -> Tensor:
        x = inner(step, x) if inner else x
        m = adaptive_avg_pool2d(weights.flatten(0, 1).to(x), (x.shape[-2], x.shape[-1]))
        m = m.unflatten(0, weights.shape[:2])
        return torch.cat([x[:, :1], m * x[:, 1:] + (1 - m) * x[:, :1]], dim=1)

    return replace(controls, after=after, source=True, mask=weights)
