"""The record of a job inside its PNG: what makes the picture again, and nothing that varies.

The same picture and record give the same bytes: keys are sorted, and no time, host or path is
added; nothing of the input's own metadata is carried over.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from noisespace.errors import InputError
from noisespace.pictures.decode import read_bytes
from noisespace.system.files import check_writable, write_bytes

KEY = "noisespace"
MAX_RECORD = 2**20  # bytes of JSON; a prompt and its settings take about a thousandth


def png_bytes(image: np.ndarray | Image.Image, record: Mapping[str, Any] | None = None) -> bytes:
    """A PNG of a picture (uint8 (h, w, 3) or PIL) with its record in a ``noisespace`` text chunk.

    The record must be plain JSON (TypeError or ValueError otherwise, NaN included).
    """
    if not isinstance(image, Image.Image):
        image = Image.fromarray(np.asarray(image))
    pixels = image.convert("L" if image.mode in ("1", "L") else "RGB")
    clean = Image.fromarray(np.asarray(pixels))  # without the source's profile, EXIF and texts
    chunks = PngImagePlugin.PngInfo()
    if record is not None:
        text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
        if len(text) > MAX_RECORD:
            raise InputError(f"the record has {len(text)} bytes, the limit is {MAX_RECORD}")
        chunks.add_text(KEY, text)  # ASCII: other characters are escaped by json
    buffer = BytesIO()
    clean.save(buffer, "PNG", pnginfo=chunks)
    return buffer.getvalue()


def check_png(path: str | Path, *, force: bool = False) -> Path:
    """Refuses, before any work is done, a name that is no PNG's or could not be written."""
    if Path(path).suffix.lower() != ".png":
        raise InputError(f"{path}: pictures are written as PNG; use a name that ends in .png")
    return check_writable(path, force=force)


def save_png(
    path: str | Path,
    image: np.ndarray | Image.Image,
    record: Mapping[str, Any] | None = None,
    *,
    force: bool = False,
) -> None:
    """Writes ``png_bytes`` whole or not at all; overwrites only with ``force`` (InputError)."""
    write_bytes(check_png(path, force=force), png_bytes(image, record), force=force)


def read_record(path: str | Path) -> dict[str, Any] | None:
    """The record in a PNG, None where there is none. It is data: never evaluated, only parsed.

    Only the header is read, no pixel is decoded. Raises InputError for a file that is no PNG and
    for a record that is no JSON object or too long.
    """
    data = read_bytes(Path(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes: nothing is decoded here
            text = Image.open(BytesIO(data), formats=["PNG"]).info.get(KEY)
    except Exception:  # Pillow raises a dozen kinds on damaged files
        raise InputError(f"{path}: is not a PNG, or a damaged one; no record was read") from None
    if text is None:
        return None
    if not isinstance(text, str) or len(text) > MAX_RECORD:
        raise InputError(f"{path}: its record is longer than the limit of {MAX_RECORD} bytes")
    try:
        record = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise InputError(f"{path}: its record is not valid JSON") from None
    if not isinstance(record, dict):
        raise InputError(f"{path}: its record is no JSON object")
    return record


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
