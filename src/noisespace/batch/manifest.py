"""Manifests in JSONL, CSV or Parquet: rows of images and prompts, all faults told at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError
from pydantic import field_validator as validated

from noisespace.batch.lines import csv_lines, json_lines, parquet_lines
from noisespace.batch.places import StoreError, beside, check_place, fetch
from noisespace.errors import InputError

KINDS = (".jsonl", ".ndjson", ".csv", ".parquet")
MAX_BYTES = 4 * 2**30  # of a manifest: about 20 million rows
MAX_TARGETS = 64
SHOWN = 3  # faults that the one sentence has; all of them are in ``faults``

Word = Annotated[StrictStr, Field(min_length=1, max_length=200)]
Prompt = Annotated[StrictStr, Field(max_length=4000)]


class ManifestError(InputError):
    """A manifest with faults of form; ``faults`` has one sentence each, with its line."""

    def __init__(self, name: str, faults: list[str]) -> None:
        self.faults = faults
        told = "; ".join(faults[:SHOWN])
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        count = "one fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__(f"{name}: {count}, nothing was run: {told}{more}")


class Row(BaseModel):
    """One image of a manifest: its prompts, and what it has of its own instead of the job's.

    ``image``, ``mask``: a path (from the manifest's folder) or an fsspec URL; ``mask`` may also be
    what finds one (``diffedit``, ``attention:word=cat``). ``method`` and ``editor`` are written as
    on the command line; ``size`` is a side or WIDTHxHEIGHT.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Word
    image: Annotated[StrictStr, Field(min_length=1, max_length=2000)]
    source: Prompt
    target: tuple[Annotated[Prompt, Field(min_length=1)], ...]
    mask: Annotated[StrictStr, Field(min_length=1, max_length=2000)] | None = None
    seed: Annotated[StrictInt, Field(ge=0, lt=2**63)] | None = None
    method: Word | None = None
    editor: Word | None = None
    guidance: Annotated[float, Field(gt=-1000, lt=1000)] | None = None
    source_guidance: Annotated[float, Field(gt=-1000, lt=1000)] | None = None
    steps: Annotated[StrictInt, Field(ge=1, le=10000)] | None = None
    size: Word | None = None

    @validated("id", mode="before")
    @classmethod
    def _numbered(cls, value: Any) -> Any:
        return str(value) if type(value) is int else value  # as tables count their rows

    @validated("id")
    @classmethod
    def _printable(cls, value: str) -> str:
        if not value.isprintable() or value != value.strip():
            raise ValueError("must be printable, without spaces around it")
        return value

    @validated("target", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        several = [value] if isinstance(value, str) else value
        if not isinstance(several, (list, tuple)) or not 1 <= len(several) <= MAX_TARGETS:
            raise ValueError(f"must be a prompt, or a list of 1 to {MAX_TARGETS}")
        return tuple(several)

    @validated("image", "mask")
    @classmethod
    def _reachable(cls, value: str | None) -> str | None:
        return value if value is None else check_place(value)


def read_manifest(
    place: str, check: Callable[[Row], None] = lambda row: None
) -> list[tuple[int, Row]]:
    """The rows of a manifest with their lines (of a Parquet file: the row's number, from 1).

    ``check(row)`` may refuse what a row says by an InputError, which is a fault like the others.
    Raises ManifestError, which has all faults; InputError where there is nothing to read.
    """
    kind = PurePosixPath(place).suffix.lower()
    if kind not in KINDS:
        raise InputError(f"{place}: expected a manifest that ends in {', '.join(KINDS)}")
    try:
        data = fetch(place, MAX_BYTES)
    except StoreError as error:  # before anything runs, bad input
        raise InputError(str(error)) from None
    lines = {".csv": csv_lines, ".parquet": parquet_lines}.get(kind, json_lines)(data, place)
    rows: list[tuple[int, Row]] = []
    faults: list[str] = []
    seen: dict[str, int] = {}
    word = "row" if kind == ".parquet" else "line"
    for line, found in lines:
        row, wrong = (None, [found]) if isinstance(found, str) else one(found, check)
        name = str(found.get("id", "")) if isinstance(found, dict) else ""
        if name and (first := seen.setdefault(name, line)) != line:
            wrong = [*wrong, f"the id {name!r} is there already, on {word} {first}"]
        faults += [f"{word} {line}: {fault}" for fault in wrong]
        if row is not None and not wrong:
            rows.append((line, placed(row, place)))
    if faults:
        raise ManifestError(place, faults)
    if not rows:
        raise InputError(f"{place}: holds no row, expected at least one image with its prompts")
    return rows


def one(fields: dict[str, Any], check: Callable[[Row], None]) -> tuple[Row | None, list[str]]:
    """A row, and what is wrong with it; None where it is none."""
    try:
        row = Row.model_validate({k: v for k, v in fields.items() if v is not None})
    except ValidationError as error:
        return None, [told(fault) for fault in error.errors()]
    try:
        check(row)
    except InputError as error:
        return row, [" ".join(str(error).split())]
    return row, []


def told(fault: Any) -> str:
    """A fault of pydantic's in words."""
    field = ".".join(map(str, fault["loc"]))
    if fault["type"] == "missing":
        return f"{field} is missing"
    if fault["type"] == "extra_forbidden":
        known = ", ".join(Row.model_fields)
        return f"{field!r} is no field of a row (there is {known})"
    got = repr(fault["input"])
    got = got if len(got) <= 60 else f"{got[:57]}..."
    return f"{field}: {fault['msg'].removeprefix('Value error, ')}, got {got}"


def placed(row: Row, manifest: str) -> Row:
    """A row whose relative paths begin at the manifest's folder."""
    found = {"image": beside(manifest, row.image)}
    if row.mask is not None and not lent(row.mask):
        found["mask"] = beside(manifest, row.mask)
    return row.model_copy(update=found)


def lent(mask: str) -> bool:
    """Whether a mask is what finds one, instead of a picture."""
    from noisespace.editing import MASKS

    return mask.partition(":")[0] in MASKS
