"""The tables that name a folder's images and their captions: JSON lines, CSV, or packed arrays."""

from __future__ import annotations

import csv
import json
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from noisespace.errors import InputError

SEEN = ("train", "training")
UNSEEN = ("val", "valid", "validation", "test")
EVERY = 20  # one image in so many is kept from training where nobody says which
LEAST = 16  # images of either split
KNOWN = ("file_name", "text", "caption", "split")
# what damaged archives raise, beyond what numpy makes of it
DAMAGED = (OSError, ValueError, TypeError, EOFError, LookupError, AttributeError, RecursionError)
DAMAGED += (zipfile.BadZipFile, zlib.error)

Row = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """One captioned image of the folder: where it is, what it says, and whether training sees it.

    ``about``: whatever else the folder tells of it (kind, colour ...).
    """

    source: Any  # a path, the bytes of a file (n,) uint8, or an array
    caption: str
    unseen: bool
    about: Row = field(default_factory=dict, hash=False, compare=False)


def records_of(folder: Path) -> list[Record]:
    """The captioned images that a folder's own table names, in its order."""
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder; expected one of captioned images")
    if (folder / "metadata.jsonl").is_file():
        rows = json_lines(folder / "metadata.jsonl")
    elif (folder / "metadata.csv").is_file():
        rows = csv_rows(folder / "metadata.csv")
    elif (folder / "images.npz").is_file():
        rows, sources = packed(folder)
        return records(folder, rows, sources, list(range(len(rows))))
    else:
        raise InputError(
            f"{folder}: has no captions; expected metadata.jsonl or metadata.csv (file_name, "
            "text), or images.npz with captions.json"
        )
    paths = [path_of(folder, row, number) for number, row in enumerate(rows, 1)]
    first: dict[Path, int] = {}
    return records(folder, rows, paths, [first.setdefault(p, len(first)) for p in paths])


def records(folder: Path, rows: list[Row], sources: list, numbers: list[int]) -> list[Record]:
    """The rows as records; ``numbers``: which image each is about, which may have several.

    InputError where one has no caption, or a split that is none, or its image is in two.
    """
    distinct = len(set(numbers))
    every = max(2, min(EVERY, distinct // LEAST))  # of few images more are kept
    found, splits = [], {}
    for number, (row, source, which) in enumerate(zip(rows, sources, numbers, strict=True), 1):
        caption = next((row[k] for k in ("text", "caption") if row.get(k)), None)
        if not isinstance(caption, str) or not caption.strip():
            raise InputError(f"{folder}: row {number} of its captions has no text")
        split = str(row.get("split") or "").strip().lower()
        if split and split not in SEEN + UNSEEN:
            raise InputError(
                f"{folder}: row {number} has split {row['split']!r}, expected train, val or test"
            )
        unseen = split in UNSEEN if split else (which + 1) % every == 0
        if splits.setdefault(which, unseen) != unseen:
            raise InputError(
                f"{folder}: row {number} and one before it have the same image in training and "
                "kept from it; name one split"
            )
        about = {k: v for k, v in row.items() if k not in KNOWN}
        found.append(Record(source, " ".join(caption.split()), unseen, about))
    return found


def path_of(folder: Path, row: Row, number: int) -> Path:
    """The file that a row names; InputError unless it names one of the folder's own.

    A link in the folder is one of them, wherever it leads (the Hub's caches are full of links).
    """
    name = row.get("file_name")
    if not isinstance(name, str) or not name or "\0" in name:
        raise InputError(f"{folder}: row {number} of its captions has no file_name")
    inside = os.path.abspath(folder)  # noqa: PTH100 - resolve() would follow links
    path = Path(os.path.abspath(folder / name))  # noqa: PTH100
    if not path.is_relative_to(inside):
        raise InputError(f"{folder}: row {number} names {name!r}, which lies outside the folder")
    return path


def text_of(path: Path) -> str:
    """A table's text, with or without a byte order mark."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is not in UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def json_lines(path: Path) -> list[Row]:
    """The objects of a JSON-lines file; numbers that are none count as nothing."""
    rows = []
    # not splitlines(), which ends lines at characters that JSON may have in its strings
    for number, line in enumerate(text_of(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise InputError(f"{path}: line {number} is no JSON object")
        rows.append(row)
    return rows


def csv_rows(path: Path) -> list[Row]:
    """The rows of a CSV file by the names in its first line."""
    try:
        rows: list[Row] = list(csv.DictReader(StringIO(text_of(path))))
    except csv.Error as error:
        raise InputError(f"{path}: is no CSV file: {error}") from None
    for number, row in enumerate(rows, 1):
        if None in row:
            raise InputError(
                f"{path}: row {number} has more fields than the first line names; put texts with "
                "commas in quotation marks"
            )
    return rows


def arrays_of(file: Any) -> Iterator[np.ndarray]:
    """The images (h, w, 3) of an archive, or its images' files (n,), views of one array."""
    pictures, data, ends = (file.get(name) for name in ("images", "data", "offsets"))
    if pictures is not None and pictures.ndim == 4:
        yield from pictures
        return
    if data is None or ends is None or data.ndim != 1 or data.dtype != np.uint8:
        shapes = ", ".join(f"{name} {file[name].shape}" for name in sorted(file.files))
        raise InputError(
            f"{file.zip.filename}: has {shapes}; expected images (n, h, w, 3), or data (bytes) and "
            "offsets (n + 1,)"
        )
    for start, end in pairwise(ends.tolist()):
        yield data[start:end]


def packed(folder: Path) -> tuple[list[Row], list[np.ndarray]]:
    """The rows of ``captions.json`` with the images of ``images.npz``, arrays or views of bytes."""
    try:
        rows = json.loads(text_of(folder / "captions.json"), parse_constant=lambda _: None)
        path = folder / "images.npz"
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            sources = list(arrays_of(file))
    except InputError:
        raise
    except DAMAGED as error:
        raise InputError(
            f"{folder}: images.npz or captions.json is damaged: {str(error) or 'cut off'}"
        ) from None
    if not isinstance(rows, list) or len(rows) != len(sources):
        got = f"{len(rows)} in a list" if isinstance(rows, list) else type(rows).__name__
        raise InputError(
            f"{folder}: captions.json must list one caption an image ({len(sources)}), got {got}"
        )
    objects = ({"text": row} if isinstance(row, str) else row for row in rows)
    return [row if isinstance(row, dict) else {} for row in objects], sources
