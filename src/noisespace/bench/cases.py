"""A case of a benchmark: an image, two prompts, where the edit may act, and the true edit."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from noisespace.errors import InputError
from noisespace.pictures.decode import FORMATS, load, read_bytes

Mask = np.ndarray | Callable[[], np.ndarray]


@dataclass(frozen=True, eq=False)
class Case:
    """One image with its source and target prompt. Nothing is decoded before it is asked for.

    ``image``: a path or uint8 (H, W, 3); ``mask``: boolean (H, W), or what makes it: where the edit
    may act; ``truth``: the true edit, a path or pixels of the same size; ``kind``: the data set's
    own category; ``about``: what else it tells, such as ``blend``, the edited word of each prompt.
    """

    id: str
    image: Path | np.ndarray
    source: str
    target: str
    mask: Mask | None = None
    truth: Path | np.ndarray | None = None
    kind: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)

    def pixels(self) -> np.ndarray:
        """The image: uint8 (H, W, 3), read by the safe loader."""
        return load(self.image)

    def where(self, size: tuple[int, int] | None = None) -> np.ndarray | None:
        """The mask, boolean (H, W); None where the case has none.

        ``size``: the image's (height, width), where it is known already. Raises InputError for a
        mask of another size.
        """
        if self.mask is None:
            return None
        mask = np.asarray(self.mask() if callable(self.mask) else self.mask)
        size = self.size() if size is None else size
        if mask.dtype != np.bool_ or mask.shape != tuple(size):
            raise InputError(
                f"case {self.id}: its mask is {mask.dtype} {mask.shape}, expected bool of the "
                f"image's size {tuple(size)} (height, width)"
            )
        return mask

    def true_edit(self) -> np.ndarray | None:
        """The true edit, uint8 (H, W, 3); None where it is not known.

        Raises InputError for one of another size than the image's.
        """
        if self.truth is None:
            return None
        truth, size = load(self.truth), self.size()
        if truth.shape[:2] != size:
            raise InputError(
                f"case {self.id}: its true edit has {truth.shape[:2]} pixels, expected the image's "
                f"size {size} (height, width)"
            )
        return truth

    def size(self) -> tuple[int, int]:
        """(height, width) of the image; of a file, by its header alone."""
        if isinstance(self.image, np.ndarray):
            return self.image.shape[0], self.image.shape[1]
        data = BytesIO(read_bytes(self.image))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of sizes: nothing is decoded here
                picture = Image.open(data, formats=FORMATS)
                turned = picture.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        except Exception:  # damaged headers raise a dozen kinds: the loader has the sentence
            shape = self.pixels().shape
            return shape[0], shape[1]
        width, height = picture.size
        return (width, height) if turned else (height, width)

    def seed(self, seed: int) -> int:
        """The case's own seed under a run's: the same whatever runs beside it."""
        found = hashlib.sha256(f"{seed} {self.id}".encode()).digest()
        return int.from_bytes(found[:4], "big")


def checked(cases: Sequence[Case], name: str) -> list[Case]:
    """The cases; InputError where there are none, or two have one id."""
    if not cases:
        raise InputError(f"{name}: holds no case, expected at least one image with its prompts")
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise InputError(f"{name}: the id {case.id!r} is there twice, expected one case an id")
        seen.add(case.id)
    return list(cases)


def digest(cases: Iterable[Case]) -> str:
    """sha256 of what rows depend on: ids, prompts, kinds, images, masks and true edits, in order.

    Of an image file its bytes count: where it lies does not.
    """
    whole = hashlib.sha256()
    for case in cases:
        data = read_bytes(case.image) if isinstance(case.image, Path) else _bytes(case.image)
        parts = [data, _bytes(case.where()), _bytes(case.true_edit())]
        told = [case.id, case.source, case.target, case.kind]
        told += [hashlib.sha256(part).hexdigest() for part in parts]
        whole.update(json.dumps(told).encode())
    return whole.hexdigest()


def _bytes(array: np.ndarray | None) -> bytes:
    """An array's shape and values."""
    return b"" if array is None else repr(array.shape).encode() + array.tobytes()
