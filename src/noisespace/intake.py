"""Images and sizes as a user gives them, brought to what a model takes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from noisespace import images
from noisespace.errors import InputError
from noisespace.models.base import Model
from noisespace.result import digest


def load_images(model: Model, image: Any, method: Any, size: Any) -> tuple[Tensor, dict[str, Any]]:
    """Pixels (b, 3, h, w) at the model's resolution (or given latents) and what was done."""
    if isinstance(image, Tensor):
        if image.ndim != 4 or image.shape[1] != model.channels or not image.is_floating_point():
            raise InputError(
                f"latents must be floats (b, {model.channels}, h, w), got {image.dtype} "
                f"{tuple(image.shape)}"
            )
        return image.to(model.device, model.state), {}
    given = list(image) if isinstance(image, (list, tuple)) else [image]
    if not given:
        raise InputError("got no image: give a path, a picture or a list of them")
    prepare = getattr(method, "prepare", lambda picture: picture)
    arrays = [prepare(images.load(one)) for one in given]
    options = {"target": model.resolution, "multiple": model.multiple}
    fitted = [images.fit(array, size, **options) for array in arrays]
    sizes = sorted({done.size for _, done in fitted})
    if len(sizes) > 1:
        raise InputError(
            f"the images of one batch come to different sizes {sizes}: give size=, or invert them "
            "one by one"
        )
    pixels = torch.cat([images.to_tensor(array) for array, _ in fitted]).to(model.state)
    return pixels, {
        "fit": tuple(asdict(done) for _, done in fitted),
        "image": tuple(digest(array) for array in arrays),
    }


def sample_size(model: Model, size: Any) -> tuple[int, int]:
    """(height, width) in pixels; the model's own by default."""
    if size is None:
        return model.resolution, model.resolution
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or not all(
        isinstance(s, int) and s > 0 and not s % model.multiple for s in sides
    ):
        raise InputError(
            f"size must be one side or (height, width), multiples of {model.multiple} such as "
            f"{model.resolution}, got {size!r}"
        )
    return sides[0], sides[1]
