"""Images, sizes and prompts as a user gives them, brought to what a model takes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from noisespace.core.batching import batch_rows, in_parts
from noisespace.core.condition import Condition
from noisespace.errors import InputError
from noisespace.models.base import Model
from noisespace.pictures import images
from noisespace.planning.result import digest
from noisespace.planning.settings import cut_notice


def load_images(model: Model, image: Any, method: Any, size: Any) -> tuple[Tensor, dict[str, Any]]:
    """Pixels (b, 3, h, w) at the model's resolution (or given latents) and what was done."""
    if isinstance(image, Tensor):
        if image.ndim != 4 or image.shape[1] != model.channels or not image.is_floating_point():
            raise InputError(
                f"latents must be floats (b, {model.channels}, h, w), got {image.dtype} "
                f"{tuple(image.shape)}"
            )
        return image.to(model.device, model.state_dtype), {}
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
    pixels = torch.cat([images.to_tensor(array) for array, _ in fitted]).to(model.state_dtype)
    return pixels, {
        "fit": tuple(asdict(done) for _, done in fitted),
        "image": tuple(digest(array) for array in arrays),
    }


def latent_size(model: Model, image: Any, pixels: Tensor) -> tuple[int, int]:
    """Height and width of the states of pixels, which are latents already where they were given."""
    factor = 1 if isinstance(image, Tensor) else model.factor
    return pixels.shape[-2] // factor, pixels.shape[-1] // factor


# An encoder works on pixels: one of Stable Diffusion's takes as much memory a picture as eight rows
# of its U-Net, or more.
ENCODING = 8


def embed(model: Model, prompts: Sequence[str | None]) -> Condition:
    """Embeds prompts; warns of what was cut."""
    text = embed_each(model, prompts)
    if notice := cut_notice(text):
        warnings.warn(notice, stacklevel=3)
    return text


def embed_each(model: Model, prompts: Sequence[str | None]) -> Condition:
    """Prompts as embeddings, a row each; what is there several times is embedded once."""
    some = list(dict.fromkeys(prompts))
    place = {prompt: i for i, prompt in enumerate(some)}
    text = model.embed(some)
    return text if len(some) == len(prompts) else text.rows([place[p] for p in prompts])


def encode(model: Model, pixels: Tensor) -> Tensor:
    """Pixels (b, 3, h, w) as latents, as many pictures at a time as memory holds."""
    like = pixels[..., :: model.factor, :: model.factor]
    return in_parts(model.encode, pixels, batch_rows(like, ENCODING))


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
