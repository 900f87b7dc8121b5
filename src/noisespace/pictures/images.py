"""Pictures in and out: loading, fitting to a model's size, arrays to tensors and back.

Outside, a picture is uint8 (height, width, 3); inside, float32 (b, 3, h, w) in [-1, 1].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from noisespace.errors import InputError, RunError
from noisespace.pictures.decode import FORMATS, MAX_PIXELS, check_pixels, checked, read_bytes
from noisespace.pictures.decode import load as load

if TYPE_CHECKING:
    from torch import Tensor

MAX_RATIO = 16


@dataclass(frozen=True)
class Fit:
    """What was done to a picture: its own size and the one it was brought to, (height, width)."""

    original: tuple[int, int]
    size: tuple[int, int]

    def __post_init__(self) -> None:
        # Also made from a saved code, so checked: lists become tuples, sizes must be sane.
        for name in ("original", "size"):
            value = getattr(self, name)
            if len(value) != 2 or not all(_is_int(side) and side > 0 for side in value):
                raise InputError(f"got {name}={value!r}, expected two sizes (height, width)")
            check_pixels("the image", value[1], value[0], MAX_PIXELS)
            object.__setattr__(self, name, (int(value[0]), int(value[1])))

    @property
    def resized(self) -> bool:
        return self.original != self.size


def _is_int(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def fit(
    array: np.ndarray,
    size: int | tuple[int, int] | None = None,
    *,
    target: int = 64,
    multiple: int = 8,
) -> tuple[np.ndarray, Fit]:
    """Brings uint8 (h, w, 3) to the model's resolution and says how.

    The shorter side becomes ``target`` and the longer follows, both rounded to ``multiple``.
    ``size`` overrides: an int is the shorter side, (height, width) is taken as it is.
    Raises InputError for sides that are no multiple and for pictures longer than 16:1.
    """
    checked(array)
    own = array.shape[0], array.shape[1]
    done = Fit(own, fitted_size(own, size, target=target, multiple=multiple))
    return resize(array, done.size), done


def fitted_size(
    own: tuple[int, int],
    size: int | tuple[int, int] | None = None,
    *,
    target: int = 64,
    multiple: int = 8,
) -> tuple[int, int]:
    """The (height, width) that ``fit`` brings a picture of the size ``own`` to."""
    height, width = own
    if size is None or _is_int(size):
        shorter = target if size is None else _side(size, multiple)
        ratio = max(height, width) / min(height, width)
        if ratio > MAX_RATIO:
            raise InputError(
                f"the image is {width} x {height}, longer than {MAX_RATIO}:1; "
                "crop it or give its size"
            )
        short = _nearest(shorter, multiple)
        long = max(short, _nearest(shorter * ratio, multiple))
        return (short, long) if height <= width else (long, short)
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise InputError(f"got size={size!r}, expected an int or (height, width)")
    return _side(size[0], multiple), _side(size[1], multiple)


def unfit(array: np.ndarray, done: Fit) -> np.ndarray:
    """Brings a picture of the model back to the input's size, uint8 (h, w, 3)."""
    return resize(array, done.original)


def resize(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 (h, w, 3) at another (height, width), Lanczos (area-weighted where it shrinks)."""
    if array.shape[:2] == tuple(size):
        return array.copy()
    picture = Image.fromarray(array)
    return np.array(picture.resize((size[1], size[0]), Image.Resampling.LANCZOS))


def _nearest(length: float, multiple: int) -> int:
    return max(1, math.floor(length / multiple + 0.5)) * multiple


def _side(value: Any, multiple: int) -> int:
    if not _is_int(value) or value <= 0 or value % multiple:
        raise InputError(
            f"got {value!r} as a side of size, expected a positive multiple of {multiple}"
            + (f", such as {_nearest(value, multiple)}" if _is_int(value) and value > 0 else "")
        )
    return int(value)


def to_tensor(array: np.ndarray) -> Tensor:
    """uint8 (h, w, 3) as float32 (1, 3, h, w) in [-1, 1]."""
    import torch

    pixels = torch.from_numpy(checked(array).copy()).permute(2, 0, 1)[None]
    return pixels.to(torch.float32) / 127.5 - 1


def to_images(tensor: Tensor) -> list[np.ndarray]:
    """(b, 3, h, w) in [-1, 1], any float type and device, as b uint8 arrays (h, w, 3).

    Values outside are clipped; raises RunError where they are not numbers.
    """
    pixels = tensor.detach().float().cpu()
    if not bool(pixels.isfinite().all()):
        raise RunError("the network gave a picture with values that are not finite (NaN)")
    pixels = ((pixels.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1)
    return [np.ascontiguousarray(picture) for picture in pixels.numpy()]


def unpack_layer(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The bytes of a picture with transparency, called ``name`` in errors; caps before decoding."""
    try:
        layer = Image.open(BytesIO(data), formats=FORMATS)
        check_pixels("the strokes", layer.width, layer.height, max_pixels)
        layer.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name}: the strokes cannot be read ({error})") from None
    return paint_layer(layer)


def paint_layer(strokes: Any) -> Image.Image:
    """Strokes as an RGBA picture: a path, a PIL image or uint8 (h, w, 4) with transparency."""
    if isinstance(strokes, (str, Path)):
        return unpack_layer(read_bytes(Path(strokes)), str(strokes))
    layer = strokes if isinstance(strokes, Image.Image) else Image.fromarray(np.asarray(strokes))
    if not layer.has_transparency_data:
        raise InputError(
            f"the strokes are {layer.mode} {layer.width} x {layer.height}, expected a picture with "
            "transparency (RGBA), transparent where nothing is painted"
        )
    return layer.convert("RGBA")


def painted(array: np.ndarray, strokes: Any) -> np.ndarray:
    """uint8 (h, w, 3) with RGBA strokes painted over it.

    ``strokes``: path, PIL image or uint8 (h, w, 4), of the picture's own size.
    """
    layer = paint_layer(strokes)
    if (layer.height, layer.width) != array.shape[:2]:
        raise InputError(
            f"the strokes are {layer.width} x {layer.height}, expected the image's own size, "
            f"{array.shape[1]} x {array.shape[0]} (RGBA)"
        )
    below = Image.fromarray(array).convert("RGBA")
    return np.array(Image.alpha_composite(below, layer).convert("RGB"))
