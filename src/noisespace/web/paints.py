"""Pictures that come from outside, looked at before they are decoded; and paint."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

from PIL import Image

from noisespace.decode import check_pixels
from noisespace.errors import InputError
from noisespace.web.limits import MIB

KINDS = ("PNG", "WEBP", "JPEG")
BYTES, PIXELS = 5 * MIB // 4, 1024 * 1024  # of paint; a board has 512 x 512 at most


def check_head(data: bytes, name: str, kinds: Sequence[str], pixels: int) -> int:
    """How many pixels a picture has, by its header: nothing else is read.

    Raises InputError for what is no picture of these kinds by its first bytes, or too large.
    """
    try:
        with Image.open(BytesIO(data), formats=list(kinds)) as opened:
            check_pixels(name, *opened.size, pixels)
            return opened.size[0] * opened.size[1]
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(f"{name}: has more than the limit of {pixels} pixels") from None
    except Exception:  # Pillow's readers raise a dozen kinds on what is no picture
        known = ", ".join(kinds[:-1]) + f" or {kinds[-1]}"
        raise InputError(f"{name}: is not an image in a known format; expected {known}") from None


def layer(data: bytes) -> Image.Image:
    """A layer's file as RGBA, under the caps. Raises InputError where it is damaged."""
    check_head(data, "the paint", KINDS, PIXELS)
    try:
        return Image.open(BytesIO(data), formats=list(KINDS)).convert("RGBA")
    except Exception:
        raise InputError("the paint is damaged: paint once more") from None
