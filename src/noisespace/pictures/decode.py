"""Decoding pictures from outside: caps and an allow-list first, one sentence for every failure."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from noisespace.errors import InputError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 64 * 10**6


def load(image: Any, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """A path, PIL image or uint8 array (or what ``__array__`` makes one) as uint8 (h, w, 3).

    EXIF orientation is applied, then all metadata (GPS too) is dropped; transparency is laid over
    white; 16 bits are scaled to 8; palette, grey and CMYK become RGB (colour profiles are
    ignored). Raises InputError, one sentence, before decoding where the header already tells.
    """
    if isinstance(image, Image.Image):
        return _rgb(lambda: image, "the image", max_pixels)
    if isinstance(image, (str, Path)):
        return unpack(read_bytes(Path(image), max_bytes), str(image), max_pixels=max_pixels)
    if not hasattr(image, "__array__"):
        raise InputError(
            f"got {type(image).__name__} as the image, expected a path, a PIL image or a uint8 "
            "array (height, width, 3)"
        )
    return checked(np.asarray(image).copy(), max_pixels)


def unpack(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The bytes of an image file, called ``name`` in errors, as ``load`` gives a path's."""
    return _rgb(lambda: Image.open(BytesIO(data), formats=FORMATS), name, max_pixels)


def checked(array: np.ndarray, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The array itself where it is uint8 (h, w, 3), else InputError."""
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise InputError(
            f"got an image array of {array.dtype} {array.shape}, expected uint8 "
            "(height, width, 3): scale it to 0..255 and put the channels last"
        )
    check_pixels("the image", array.shape[1], array.shape[0], max_pixels)
    return array


def read_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes of a regular file, no more than ``max_bytes``."""
    try:
        if path.is_dir():
            raise InputError(f"{path}: is a folder, expected an image file")
        if not path.exists():
            raise InputError(f"{path}: there is no such file")
        if not path.is_file():  # a pipe or device could block or never end
            raise InputError(f"{path}: is not a regular file, expected an image file")
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{str(path)!r}: cannot be read: {reason}") from None
    if not data:
        raise InputError(f"{path}: is empty, expected a file with something in it")
    if len(data) > max_bytes:
        raise InputError(
            f"{path}: is larger than {max_bytes / 2**20:g} MiB, the limit; make it smaller"
        )
    return data


def _rgb(opener: Callable[[], Image.Image], name: str, max_pixels: int) -> np.ndarray:
    """Opens, checks what the header says, decodes and converts; every failure one sentence."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata and of sizes that are checked here against our own limit
            warnings.simplefilter("ignore")
            picture = opener()
            check_pixels(name, *picture.size, max_pixels)
            # MPO is a JPEG photo with a second view or gain map behind it: the first is the photo
            frames = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
            if frames > 1:
                raise InputError(
                    f"{name}: holds {frames} frames, expected a single picture; save one frame"
                )
            return _flatten(_upright(picture), name)
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(
            f"{name}: is not an image in a known format; expected PNG, JPEG, WebP, BMP, TIFF or GIF"
        ) from None
    except Image.DecompressionBombError:
        raise InputError(f"{name}: has more than the limit of {max_pixels} pixels") from None
    except Exception as error:  # Pillow's decoders raise a dozen kinds on damaged files
        raise InputError(f"{name}: is damaged or cut off: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def check_pixels(name: str, width: int, height: int, max_pixels: int) -> None:
    """Raises InputError for an empty picture and for one above the cap."""
    if width * height > max_pixels:
        raise InputError(
            f"{name}: is {width} x {height}, more than the limit of {max_pixels} pixels; "
            "make it smaller"
        )
    if width < 1 or height < 1:
        raise InputError(f"{name}: is {width} x {height}, expected at least one pixel")


def _upright(picture: Image.Image) -> Image.Image:
    picture.load()  # a damaged picture fails here, damaged EXIF below is only ignored
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:
        return picture


def _flatten(picture: Image.Image, name: str) -> np.ndarray:
    """Any mode as uint8 (h, w, 3)."""
    # A 16-bit PNG is "I" in older Pillow; 16-bit colour is brought to 8 bits by Pillow itself.
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PNG"):
        grey = np.asarray(picture).astype(np.uint32)
        grey = ((grey * 255 + 32767) // 65535).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if picture.mode in ("I", "F"):
        raise InputError(f"{name}: has 32 bits a channel, expected 8 or 16; convert it first")
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    return np.array(picture.convert("RGB"))
