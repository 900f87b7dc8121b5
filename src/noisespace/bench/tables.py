"""One's own images: a CSV or JSON-lines table of image, source, target, mask, truth, id, kind."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from noisespace.bench.cases import Case
from noisespace.bench.layouts import Entry, Numbered, entry_of, inside, read_text
from noisespace.editing.masks import as_grey
from noisespace.errors import InputError

COLUMNS = ("image", "source", "target", "mask", "truth", "id", "kind")
NEEDED = ("image", "source", "target")


class Row(Entry):
    """One row of a table; an empty cell is as good as none."""

    image: str
    source: str
    target: str
    mask: str = ""
    truth: str = ""
    id: str = ""
    kind: str = ""


def table_cases(file: Path) -> list[Case]:
    """The cases of a table; paths are relative to it, and must not leave its folder.

    A mask is a picture of the image's size, white where the edit may act; the truth is the true
    edit, where it is known. Rows without an id get the image's name and a number.
    """
    cases, ids = [], Numbered()
    for number, value in csv_rows(file) if file.suffix.lower() == ".csv" else json_rows(file):
        where = f"{file}: line {number}"
        row = entry_of(Row, value, where)
        if not row.target.strip():
            raise InputError(f"{where}: its target is empty, expected what the image shall show")
        image = inside(file.parent, row.image, where)
        mask = partial(painted, inside(file.parent, row.mask, where)) if row.mask else None
        truth = inside(file.parent, row.truth, where) if row.truth else None
        texts = row.source.strip(), row.target.strip()
        name, about = row.id or ids(row.image), {"data": file.name}
        cases.append(Case(name, image, *texts, mask, truth, row.kind, about))
    return cases


def painted(path: Path) -> np.ndarray:
    """A mask's picture as boolean (H, W): the lighter half of grey is in it."""
    return as_grey(path) > 127


def csv_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row) of a CSV table with a header."""
    reader = csv.DictReader(StringIO(read_text(file), newline=""))
    check_columns(file, list(reader.fieldnames or ()))
    try:
        for row in reader:
            cells = {key: value or "" for key, value in row.items() if key is not None}
            if None in row:  # what the reader found beyond the last column
                raise InputError(
                    f"{file}: line {reader.line_num} has more cells than the header; put a text "
                    'that has commas into "quotes"'
                )
            yield reader.line_num, cells
    except csv.Error as error:
        raise InputError(f"{file}: line {reader.line_num} is no valid CSV: {error}") from None


def json_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row) of a table with one JSON object a line."""
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise InputError(f"{file}: line {number} is no JSON object")
        check_columns(file, list(row))
        yield number, {key: value for key, value in row.items() if value is not None}


def check_columns(file: Path, given: list[str]) -> None:
    """Raises InputError where a column is missing or unknown."""
    missing = [name for name in NEEDED if name not in given]
    unknown = [name for name in given if name not in COLUMNS]
    if missing or unknown:
        what = f"has no column {missing[0]!r}" if missing else f"has a column {unknown[0]!r}"
        raise InputError(
            f"{file}: {what}, expected image, source, target and, if you like, mask, truth, "
            "id, kind"
        )
