"""What a job gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from noisespace.pictures.metadata import png_bytes


@dataclass(frozen=True)
class Cell:
    """One setting of a comparison: its picture and figures, or the ``error`` that it ended with.

    ``psnr_input``: of the edit to the input, dB (60 where they are equal).
    """

    method: str
    editor: str | None
    guidance: float | None
    image: Image.Image | None = None
    record: dict[str, Any] | None = None
    psnr_input: float | None = None
    seconds: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Outcome:
    """The result of a job; what a kind of job does not make is empty.

    ``images`` with one of ``records`` each (what the command line writes into its PNGs; a picture
    can be made again from it); ``reconstruction``: the first seed's replay of the source; ``mask``:
    the mask used or found; ``code``: the key of the code, for further jobs; ``source``: the prompt
    that the picture was inverted with; ``inverted``: whether this job had to; ``words`` with one of
    ``maps`` (h, w) each; ``cells`` in rows of ``columns``; ``notes``: what the library warned of.
    """

    kind: str
    images: tuple[Image.Image, ...] = ()
    records: tuple[dict[str, Any], ...] = ()
    reconstruction: Image.Image | None = None
    mask: Image.Image | None = None
    code: str | None = None
    source: str = ""
    inverted: bool = False
    inversion_seconds: float = 0.0
    edit_seconds: float = 0.0
    words: tuple[str, ...] = ()
    maps: tuple[np.ndarray, ...] = ()
    cells: tuple[Cell, ...] = ()
    columns: int = 1
    notes: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """What its pictures take in memory."""
        pictures = [*self.images, self.reconstruction, self.mask, *(c.image for c in self.cells)]
        each = (p.width * p.height * len(p.getbands()) for p in pictures if p is not None)
        return sum(each) + sum(m.nbytes for m in self.maps)

    def png(self, index: int) -> bytes:
        """A picture as PNG with its record in it: the bytes that the command line writes."""
        record = self.records[index] if index < len(self.records) else None
        return png_bytes(self.images[index], record)
