"""The pixels of a folder's images: read one after the other into a file that is then mapped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from noisespace.errors import InputError
from noisespace.pictures import images
from noisespace.pictures.decode import load, unpack
from noisespace.system.files import replacing, write_bytes
from noisespace.train.loop import bar
from noisespace.train.tables import Record

Found = tuple[np.ndarray, list[int], int]  # pixels (n, size, size, 3) uint8, see ``read_pixels``


def read_pixels(
    records: list[Record], size: int, take: Callable[[np.ndarray], Any]
) -> tuple[list[int], int]:
    """Gives every image at ``size`` x ``size`` to ``take``; those that cannot be read are reported.

    Returns the numbers of the records that could be read, and the median of the images' shorter
    sides, 0 without any.
    """
    good, bad, sides = [], [], []
    with bar() as progress:
        job = progress.add_task("reading", total=len(records), note="")
        for number, one in enumerate(records):
            try:
                array = picture(one.source, f"image {number + 1}")
                take(square(array, size))
                sides.append(min(array.shape[:2]))
                good.append(number)
            except InputError as error:
                bad.append(str(error))
            progress.update(job, advance=1)
        for line in bad[:5]:
            progress.console.print(f"skipped: {line}", highlight=False, markup=False)
        if bad:
            progress.console.print(f"{len(bad)} of {len(records)} images could not be read")
    return good, sorted(sides)[len(sides) // 2] if sides else 0


def picture(source: Any, name: str) -> np.ndarray:
    """A record's image, uint8 (h, w, 3)."""
    if isinstance(source, Path):
        return load(source)
    if source.ndim == 1:
        return unpack(source.tobytes(), name)
    try:
        return load(source)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def square(array: np.ndarray, size: int) -> np.ndarray:
    """The middle of a picture at ``size`` x ``size``."""
    height, width = array.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    return images.resize(array[top : top + side, left : left + side], (size, size))


def identity(source: Any) -> str:
    """What tells one image from another without reading it again."""
    if not isinstance(source, Path):
        return hashlib.sha256(np.ascontiguousarray(source).tobytes()).hexdigest()
    try:
        known = source.stat()
    except OSError:  # reported when it is read
        return str(source)
    return f"{source} {known.st_size} {known.st_mtime_ns}"


def in_memory(records: list[Record], size: int) -> Found:
    """All pixels at once, where nobody keeps them."""
    arrays: list[np.ndarray] = []
    good, side = read_pixels(records, size, arrays.append)
    return np.stack(arrays) if arrays else np.empty((0, size, size, 3), np.uint8), good, side


def cached(path: Path, made_by: str) -> Found | None:
    """What ``keep`` wrote of the same images, not loaded before it is looked at."""
    notes = notes_of(path)
    if notes.get("made_by") != made_by or "side" not in notes:
        return None
    return np.load(path, mmap_mode="r"), notes["good"], notes["side"]


def notes_of(path: Path) -> dict[str, Any]:
    """What is known of the pixels in ``path``, nothing where there are none."""
    notes = path.with_suffix(".json")
    there = notes.exists() and path.exists()
    return json.loads(notes.read_text(encoding="utf-8")) if there else {}


def keep(path: Path, made_by: str, records: list[Record], size: int, begun: bool = False) -> Found:
    """Reads the pixels into a file, then writes the notes that say what they are.

    ``begun``: a run has learned from what was there before; InputError, and all as it was, unless
    that is the same in another place.
    """
    before, seen = notes_of(path), hashlib.sha256()

    def take(array: np.ndarray) -> None:
        data = np.ascontiguousarray(array).tobytes()
        seen.update(data)
        file.write(data)

    with replacing(path, force=True) as file:
        file.write(header(len(records), size))
        good, side = read_pixels(records, size, take)
        seen.update(json.dumps([(records[i].caption, records[i].unseen) for i in good]).encode())
        content = seen.hexdigest()
        if begun and before and before.get("content") != content:
            raise InputError(
                f"{path}: the images or captions are not those that this run began with; put them "
                "back as they were, or name another folder with --out"
            )
        file.seek(0)
        file.write(header(len(good), size))
        path.with_suffix(".json").unlink(missing_ok=True)
    notes = {"made_by": made_by, "good": good, "side": side, "content": content}
    write_bytes(path.with_suffix(".json"), json.dumps(notes).encode(), force=True)
    return np.load(path, mmap_mode="r"), good, side


def header(count: int, size: int) -> bytes:
    """The beginning of an .npy file; numpy leaves room in it for any count."""
    buffer = BytesIO()
    told = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)}
    np.lib.format.write_array_header_1_0(buffer, told)
    return buffer.getvalue()
