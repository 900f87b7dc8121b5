"""What a downloaded result carries: its photo, painted mask and strokes, in a chunk of its PNG.

One chunk ``nsFL`` a file, before the end: its name, a zero byte, its bytes. Other programs skip
it, and those that change the picture drop it (by its name it is private and not safe to copy).
Without the chunks the file is, byte for byte, what the command line writes.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from noisespace.errors import InputError
from noisespace.pictures.describe import pixels_hash
from noisespace.pictures.images import unpack_layer
from noisespace.web.fields import picture_of
from noisespace.web.limits import TOGETHER, Limits
from noisespace.web.paints import check_head
from noisespace.web.records import PAINTED, strokes_in
from noisespace.web.session import Entry
from noisespace.web.sharing import INPUT

CHUNK, END = b"nsFL", b"IEND"
SIGNATURE = b"\x89PNG\r\n\x1a\n"
NAME = re.compile(rf"{re.escape(INPUT)}|{re.escape(PAINTED)}|paint-[0-9a-f]{{8}}\.png")
MOST = 12  # files in one picture


def with_files(png: bytes, files: Mapping[str, bytes]) -> bytes:
    """A PNG that carries files."""
    end = png.rindex(END) - 4
    return png[:end] + b"".join(_chunk(n, data) for n, data in files.items()) + png[end:]


def files_in(png: bytes) -> dict[str, bytes]:
    """The files that a PNG carries; what is damaged or unknown is none. Nothing is decoded."""
    found: dict[str, bytes] = {}
    for kind, data in _chunks(png):
        name, _, content = data.partition(b"\0")
        text = name.decode("latin-1")
        if kind == CHUNK and NAME.fullmatch(text) and len(found) < MOST:
            found[text] = content
    return found


def _chunk(name: str, data: bytes) -> bytes:
    body = CHUNK + name.encode() + b"\0" + data
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and data of the chunks of a PNG, up to the first that is damaged."""
    at = len(SIGNATURE)
    while png.startswith(SIGNATURE) and at + 12 <= len(png):
        size = int.from_bytes(png[at : at + 4], "big")
        body, end = png[at + 4 : at + 8 + size], at + 12 + size
        if end > len(png) or zlib.crc32(body) != int.from_bytes(png[end - 4 : end], "big"):
            return
        yield body[:4], body[4:]
        at = end


def files_of(entry: Entry, strokes: Mapping[str, str]) -> dict[str, bytes]:
    """What makes an edit again beside its record. ``strokes``: paths by name."""
    paths = {INPUT: entry.photo.path}
    if entry.settings.mask == PAINTED and entry.mask:
        paths[PAINTED] = entry.mask
    named = strokes_in(entry.settings.operations)
    paths |= {name: strokes[name] for name in named if name in strokes}
    return {name: Path(path).read_bytes() for name, path in paths.items()}


def carrying(png: bytes, entry: Entry, strokes: Mapping[str, str], limits: Limits) -> bytes | None:
    """A result with all that restores it; None where that could not be dropped here again."""
    whole = with_files(png, files_of(entry, strokes))
    return whole if len(whole) <= limits.upload_bytes else None


@dataclass(frozen=True)
class Carried:
    """The files that came with a result, decoded under the server's limits."""

    photo: np.ndarray | None = None
    mask: np.ndarray | None = None
    strokes: Mapping[str, Image.Image] = field(default_factory=dict)

    @property
    def known(self) -> dict[str, str]:
        """Names by the hashes that a record knows them by."""
        found = {pixels_hash(np.asarray(one)): name for name, one in self.strokes.items()}
        return found if self.mask is None else {**found, pixels_hash(self.mask): PAINTED}


def carried(png: bytes, limits: Limits) -> Carried:
    """What a result carries. Raises InputError where a file in it is no picture or too large."""
    files = files_in(png)
    sizes = [check_head(data, "the result", ("PNG",), limits.pixels) for data in files.values()]
    if sum(sizes) > TOGETHER * limits.pixels:  # in sum, before any is decoded
        raise InputError("the result carries more pixels than may be held at once")
    photo, mask, layers = files.pop(INPUT, None), files.pop(PAINTED, None), files
    return Carried(
        None if photo is None else picture_of(photo, limits, "the photo in the result"),
        None if mask is None else picture_of(mask, limits, "the mask in the result")[..., 0],
        {
            name: unpack_layer(data, "the result", max_pixels=limits.pixels)
            for name, data in layers.items()
        },
    )
