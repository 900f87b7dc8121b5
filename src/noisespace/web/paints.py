"""Pictures that come from outside, looked at before they are decoded; and paint."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

from PIL import Image

from noisespace.errors import InputError
from noisespace.pictures.decode import check_pixels
from noisespace.web.limits import MIB

BYTES = 5 * MIB // 4  # of paint: more than a board's canvas can hold


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
        known = " or ".join(filter(None, [", ".join(kinds[:-1]), kinds[-1]]))
        raise InputError(f"{name}: is not an image in a known format; expected {known}") from None


def layer(data: bytes, size: tuple[int, int]) -> Image.Image:
    """Paint (a PNG of a width and height) as RGBA. Raises InputError where it is anything else."""
    check_head(data, "the paint", ("PNG",), size[0] * size[1])
    try:
        found = Image.open(BytesIO(data), formats=["PNG"]).convert("RGBA")
    except Exception:
        raise InputError("the paint is damaged: paint once more") from None
    if found.size != size:
        raise InputError(f"the paint has {found.width} x {found.height} pixels, not the board's")
    return found
