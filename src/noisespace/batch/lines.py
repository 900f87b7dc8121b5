"""The lines of a manifest as fields, from JSONL, CSV or Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from io import BytesIO, StringIO
from typing import Any

from noisespace.errors import InputError

Numbered = Iterator[tuple[int, dict[str, Any] | str]]  # a line and its fields, or what is wrong
NUMBERS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("seed", "steps"), int),
    **dict.fromkeys(("guidance", "source_guidance"), float),
}


def json_lines(data: bytes, place: str) -> Numbered:
    """The objects of a JSONL file; empty lines are none."""
    for number, line in enumerate(BytesIO(data), 1):
        if not line.strip():
            continue
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            value = json.loads(text, object_pairs_hook=once)
        except (ValueError, RecursionError) as error:
            yield number, f"is no JSON ({error})"
            continue
        yield number, value if isinstance(value, dict) else "is no JSON object"


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object each of whose keys is there once. ValueError where one is not."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is there twice")
    return found


def csv_lines(data: bytes, place: str) -> Numbered:
    """The rows of a CSV with a head; an empty cell is not given; ``["a", "b"]`` is a list."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{place}: is no UTF-8 ({error})") from None
    reader = csv.DictReader(StringIO(text, newline=""), strict=True)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield reader.line_num, f"is no CSV ({error})"
            continue
        if None in cells:
            yield reader.line_num, "has more cells than the head has names"
            continue
        given = {k: v for k, v in cells.items() if v not in (None, "") or k == "source"}
        yield reader.line_num, {k: cell(k, v or "") for k, v in given.items()}


def cell(name: str, text: str) -> Any:
    """A cell as the field's kind of value; what cannot be read stays a text, and is refused so."""
    try:
        if name == "target" and text.lstrip().startswith("["):
            return json.loads(text)
        return NUMBERS.get(name, str)(text)
    except ValueError:
        return text


def parquet_lines(data: bytes, place: str) -> Numbered:
    """The rows of a Parquet file."""
    from noisespace.batch.records import arrow

    pa = arrow()
    try:
        file = pa.parquet.ParquetFile(BytesIO(data), pre_buffer=False)
        number = 0
        for part in file.iter_batches(use_threads=False):
            for row in part.to_pylist():
                number += 1
                yield number, row
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{place}: is no Parquet file ({str(error).splitlines()[0]})") from None
