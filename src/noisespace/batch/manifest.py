"""Manifests: JSON lines, CSV or Parquet with an edit a row, checked whole before anything runs."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from noisespace.batch.places import is_url, read, resolved
from noisespace.errors import InputError

MOST_ROWS = 10**7
MOST_BYTES = 4 * 2**30
SHOWN = 20  # faults that are told one by one
MOST_TARGETS = 64
NEEDED = ("id", "image", "target")


def texts(value: Any) -> Any:
    """One target or several: a string, a list, or a list written as JSON in a cell."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return (value,)
    return (value,) if isinstance(value, str) else value


Text = Annotated[str, Field(max_length=2000)]
Place = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00-\x1f]*$")]
Targets = Annotated[tuple[Text, ...], Field(min_length=1, max_length=MOST_TARGETS)]


class Item(BaseModel):
    """One image and its edits; what a row leaves out is the job's.

    ``method``, ``editor``: as on the command line; ``mask``: a picture's place, or what finds one;
    ``seed``: of the noise (None: from the job's seed and the id).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    id: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]*$")]
    image: Place
    source: Text = ""
    target: Annotated[Targets, BeforeValidator(texts)]
    mask: Annotated[str, Field(max_length=4096)] = ""
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    method: str = ""
    editor: str = ""
    guidance: Annotated[float, Field(gt=-1000, lt=1000)] | None = None
    source_guidance: Annotated[float, Field(gt=-1000, lt=1000)] | None = None
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None

    def seeded(self, job: int) -> int:
        """The row's own seed: a function of the job's and of the id, not of any other row."""
        if self.seed is not None:
            return self.seed
        return int.from_bytes(hashlib.sha256(f"{job}\n{self.id}".encode()).digest()[:6], "big")

    @property
    def painted(self) -> bool:
        """Whether the mask is a picture, not what finds one."""
        from noisespace.specs import MASKS

        return bool(self.mask) and self.mask.partition(":")[0] not in MASKS


@dataclass(frozen=True)
class Manifest:
    """The rows of a manifest and the digest of their contents, by which a folder knows it again."""

    items: tuple[Item, ...]
    digest: str


def read_manifest(file: str | Path) -> Manifest:
    """A manifest's rows, paths made absolute.

    Raises InputError with every fault of form and its line (the first SHOWN of them): unknown and
    missing columns, values that are none, methods and editors that do not exist, ids that are
    there twice. Images are not looked at: one that is missing or damaged is a matter of its row.
    """
    place, found, faults = str(file), [], list[str]()
    folder = Path() if is_url(place) else Path(place).resolve().parent
    first: dict[str, int] = {}
    good = dict[tuple[str, str], str]()  # specs that were read already, and what is wrong with them
    for line, row in rows_of(place):
        item = row if isinstance(row, str) else item_of(row, folder, good)
        if isinstance(item, str):
            faults.append(f"line {line}: {item}")
        elif item.id in first:
            faults.append(f"line {line}: id {item.id!r} is that of line {first[item.id]} too")
        else:
            first[item.id] = line
            found.append(item)
    if faults:
        more = [f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        told = "; ".join([*faults[:SHOWN], *more])
        raise InputError(f"{place}: {len(faults)} rows cannot be used: {told}")
    if not found:
        raise InputError(f"{place}: has no rows; expected {', '.join(NEEDED)} and settings in each")
    told = "\n".join(item.model_dump_json() for item in found)
    return Manifest(tuple(found), hashlib.sha256(told.encode()).hexdigest())


def item_of(row: dict[str, Any], folder: Path, good: dict[tuple[str, str], str]) -> Item | str:
    """A row as an item, or what is wrong with it."""
    row = {key: value for key, value in row.items() if value not in (None, "")}
    try:
        item = Item.model_validate(row)
    except ValidationError as error:
        return "; ".join(plain(one) for one in error.errors())
    for kind, spec in (("method", item.method), ("editor", item.editor), ("mask", item.mask)):
        if kind == "mask" and item.painted:
            continue
        if spec and (why := good.setdefault((kind, spec), fault(kind, spec))):
            return why
    if any(not text.strip() for text in item.target):
        return "target is empty, expected what the image shall show"
    mask = resolved(item.mask, folder) if item.painted else item.mask
    return item.model_copy(update={"image": resolved(item.image, folder), "mask": mask})


def plain(error: Any) -> str:
    """What pydantic found, in a few words."""
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"there is no column {where!r} (there is {', '.join(Item.model_fields)})"
    if error["type"] == "missing":
        return f"has no {where}"
    got = repr(error["input"])
    return f"{where}: {error['msg']}, got {got if len(got) < 80 else got[:77] + '...'}"


def fault(kind: str, spec: str) -> str:
    """What is wrong with a method, editor or mask; "" where nothing is."""
    from noisespace.editing import MASKS
    from noisespace.specs import parse_choice, parse_editor, parse_method

    try:
        if kind == "method":
            parse_method(spec)
        elif kind == "editor":
            parse_editor(spec)
        else:
            parse_choice(spec, "mask", MASKS)
    except InputError as error:
        return str(error)
    return ""


def rows_of(place: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """(line, row or what is wrong with the line) of a manifest, by the ending of its name."""
    ending = place.rpartition(".")[2].lower()
    if ending == "parquet":
        yield from parquet_rows(place)
    elif ending in ("jsonl", "ndjson", "csv"):
        yield from (csv_rows if ending == "csv" else json_rows)(place)
    else:
        raise InputError(f"{place}: a manifest's name ends in .jsonl, .csv or .parquet")


def text_of(place: str) -> str:
    """A manifest's text, with or without a byte order mark."""
    try:
        return read(place, MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{place}: is not in UTF-8 ({error.reason} at {error.start})") from None


def json_rows(place: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """One JSON object a line."""
    for number, line in enumerate(text_of(place).split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            yield number, row if isinstance(row, dict) else "is no JSON object"


def csv_rows(place: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """The rows of a CSV table with a header."""
    reader = csv.DictReader(StringIO(text_of(place), newline=""))
    try:
        for row in reader:
            wide = None in row
            yield reader.line_num, "has more cells than the header" if wide else dict(row)
    except csv.Error as error:
        raise InputError(f"{place}: line {reader.line_num} is no valid CSV: {error}") from None


def parquet_rows(place: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """The rows of a Parquet table; a row's number counts from 1."""
    pa = arrow()
    try:
        table = pa.parquet.ParquetFile(BytesIO(read(place, MOST_BYTES)))
        number = 0
        for part in table.iter_batches():
            for row in part.to_pylist():
                number += 1
                yield number, row
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{place}: is no Parquet table: {str(error).splitlines()[0]}") from None


def arrow() -> Any:
    """pyarrow with its Parquet."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise InputError("a batch needs pyarrow; install noisespace[batch]") from None
    return pyarrow
