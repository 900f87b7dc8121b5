"""The tables that name a folder's images and their captions: JSON lines, CSV, or packed arrays."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from noisespace.errors import InputError

UNSEEN = ("val", "valid", "validation", "test")
EVERY = 20  # one image in so many is kept from training where nobody says which


@dataclass(frozen=True)
class Record:
    """One captioned image of the folder: where it is, what it says, and whether training sees it.

    ``about``: whatever else the folder tells of it (kind, colour ...).
    """

    source: Any  # a path, or the bytes of a file, or an array
    caption: str
    unseen: bool
    about: dict[str, Any] = field(default_factory=dict, hash=False, compare=False)


def records_of(folder: Path) -> Iterator[Record]:
    """The captioned images that a folder's own table names, in its order."""
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder; expected one of captioned images")
    if (folder / "metadata.jsonl").is_file():
        rows = json_lines(folder / "metadata.jsonl")
    elif (folder / "metadata.csv").is_file():
        with (folder / "metadata.csv").open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    elif (folder / "images.npz").is_file():
        yield from packed(folder)
        return
    else:
        raise InputError(
            f"{folder}: has no captions; expected metadata.jsonl or metadata.csv (file_name, "
            "text), or images.npz with captions.json"
        )
    for number, row in enumerate(rows, 1):
        name = row.get("file_name")
        if not isinstance(name, str) or not name:
            raise InputError(f"{folder}: row {number} of its captions has no file_name")
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise InputError(
                f"{folder}: row {number} names {name!r}, which lies outside the folder"
            )
        yield record(path, row, number, folder)


def record(source: Any, row: dict[str, Any], number: int, folder: Path) -> Record:
    """One row of a table; InputError where it has no caption."""
    caption = next((row[k] for k in ("text", "caption") if row.get(k)), None)
    if not isinstance(caption, str) or not caption.strip():
        raise InputError(f"{folder}: row {number} of its captions has no text")
    split = str(row.get("split") or ("val" if number % EVERY == 0 else "train")).lower()
    known = ("file_name", "text", "caption", "split")
    about = {k: v for k, v in row.items() if k not in known}
    return Record(source, " ".join(caption.split()), split in UNSEEN, about)


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line) if line.strip() else None
        except ValueError:
            row = 0
        if row is not None and not isinstance(row, dict):
            raise InputError(f"{path}: line {number} is no JSON object")
        if row is not None:
            rows.append(row)
    return rows


def packed(folder: Path) -> Iterator[Record]:
    """The images of ``images.npz`` with the rows of ``captions.json``."""
    try:
        rows = json.loads((folder / "captions.json").read_text(encoding="utf-8"))
        with np.load(folder / "images.npz", allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: images.npz or captions.json is damaged: {error}") from None
    if "images" in arrays:
        sources: list[Any] = list(arrays["images"])
    elif {"data", "offsets"} <= arrays.keys():
        data, ends = arrays["data"].tobytes(), arrays["offsets"].tolist()
        sources = [data[a:b] for a, b in pairwise(ends)]
    else:
        raise InputError(
            f"{folder}: images.npz has {sorted(arrays)}, expected images, or data and offsets"
        )
    if not isinstance(rows, list) or len(rows) != len(sources):
        raise InputError(
            f"{folder}: captions.json must list one caption an image ({len(sources)}), "
            f"got {len(rows)}"
        )
    for number, (source, row) in enumerate(zip(sources, rows, strict=True), 1):
        row = {"text": row} if isinstance(row, str) else row
        yield record(source, row if isinstance(row, dict) else {}, number, folder)
