"""What an edit, reconstruction or sample gives back: pictures, latents and the full record."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from noisespace.core.batching import is_out_of_memory
from noisespace.core.code import Code, one_or_list
from noisespace.core.grid import Steps
from noisespace.core.steps import Ancestral
from noisespace.errors import RunError
from noisespace.models.base import Model
from noisespace.pictures import images
from noisespace.pictures.describe import describe
from noisespace.pictures.images import Fit


@dataclass(frozen=True)
class Result:
    """``images``: PIL, image-major; ``latents`` (pictures, c, h, w); ``record``: how to make it.

    ``mask``: the mask used (PIL; a list where pictures have their own) or None.
    ``reconstruction``: the source row's replay (PIL, a list for several images); computed when
    first looked at where the edit ran without a source row.
    """

    images: list[Image.Image]
    latents: Tensor
    record: dict[str, Any]
    mask: Any = None
    replay_source: Callable[[], list[Image.Image]] = field(default=list, repr=False)

    @cached_property
    def reconstruction(self) -> Any:
        pictures = self.replay_source()
        return one_or_list(tuple(pictures)) if pictures else None

    def record_of(self, index: int) -> dict[str, Any]:
        """The record of one picture: its own prompt in place of all of them."""
        record = {k: v for k, v in self.record.items() if k != "pictures"}
        return {**record, "picture": self.record["pictures"][index]}


Outside = tuple[Tensor, Tensor]  # a source's latent (1, c, h, w) and a mask (1, 1, H, W)


@torch.no_grad()
def pictures(
    model: Model,
    latents: Tensor,
    fits: list[Fit | None],
    outside: list[Outside] | None = None,
) -> list[Image.Image]:
    """Latents as PIL pictures at the inputs' sizes; one picture decoded at a time saves memory.

    ``outside``: what each picture shows outside a mask. The latents agree there already; but a
    decoder looks around, so that without this the inside would shine through at the edge.
    """
    out = []
    for k, (x, done) in enumerate(zip(latents.split(1), fits, strict=True)):
        pixels = decode_latent(model, x)
        if outside is not None:
            source, mask = outside[k]
            m = interpolate(mask.to(pixels), pixels.shape[-2:], mode="bilinear")
            pixels = torch.lerp(decode_latent(model, source), pixels, m)
        array = images.to_images(pixels)[0]
        out.append(Image.fromarray(images.unfit(array, done) if done else array))
    return out


def decode_latent(model: Model, x: Tensor) -> Tensor:
    """One latent as pixels. Raises RunError, with what to do, where memory runs out."""
    try:
        return model.decode(x)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise RunError(
            "out of memory while decoding a picture: load the model with tiling (tiling=True, "
            "--tiling), or use a smaller size"
        ) from None


def mask_pictures(
    weights: Tensor | None, fits: Sequence[Fit | None], shown: Sequence[int], each: int
) -> Any:
    """Blending weights (image or 1, target or 1, 1, h, w) as grey pictures of the inputs' sizes.

    A list with one for each of the ``shown`` target rows, or a single one where they share it.
    """
    if weights is None:
        return None
    rows = weights.expand(len(fits), each, *weights.shape[2:]).flatten(0, 1)[list(shown), 0]
    shared = weights.shape[0] * weights.shape[1] == 1
    out = []
    for row, index in list(zip(rows, shown, strict=True))[: 1 if shared else None]:
        done, small = fits[index // each], (row.float().cpu().numpy() * 255).round()
        size = done.original if done else small.shape
        picture = Image.fromarray(small.astype(np.uint8))
        out.append(picture.resize((size[1], size[0]), Image.Resampling.NEAREST))
    return one_or_list(tuple(out))


def fits_of(code: Code) -> list[Fit | None]:
    """How each image of a code was brought to the model's resolution."""
    count = code.path.shape[1]
    return [Fit(**f) for f in code.info.fit] if code.info.fit else [None] * count


def source_record(code: Code) -> dict[str, Any]:
    """What made a code, without anything that varies between runs."""
    info = code.info
    return {
        "prompt": list(info.prompts),
        "image": list(info.image),
        "size": [dict(f) for f in info.fit],
        "seed": list(info.seeds),
        "method": info.method,
        "steps": code.steps,
        **timesteps_record(info.timesteps or None),
        "guidance": info.guidance,
        **({"pivot_guidance": w} if (w := info.pivot_guidance) is not None else {}),
        **({"lattice": code.lattice} if code.lattice else {}),
        **({} if isinstance(code.step, Ancestral) else {"step": describe(code.step)}),
        **({"captioner": info.captioner} if info.captioner else {}),
        **({"operations": list(info.operations)} if info.operations else {}),
    }


def timesteps_record(steps: Steps | None) -> dict[str, Any]:
    """What a record says of timesteps that were given as they are."""
    return {"timesteps": list(steps)} if isinstance(steps, tuple | list) else {}


def model_record(model: Model) -> dict[str, Any]:
    """Which model, what was added to it, and what of its speed-ups can move a result."""
    return {
        "name": model.name,
        "fingerprint": model.fingerprint,
        "dtype": str(model.dtype).removeprefix("torch."),
        **model.speed,
        **model.additions,
    }


def digest(array: np.ndarray) -> str:
    """sha256 of a picture's pixels and size."""
    return hashlib.sha256(repr(array.shape).encode() + array.tobytes()).hexdigest()
