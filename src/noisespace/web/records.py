"""All that the page sets, and how it comes back from the record in a PNG."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from noisespace.editing import EDITORS, MASKS, OPERATIONS
from noisespace.errors import InputError
from noisespace.inversion import METHODS
from noisespace.pictures.images import fitted_size
from noisespace.pictures.metadata import KEY, MAX_RECORD
from noisespace.web.written import parse_repr, spec_of

PAINTED = "mask.png"  # what a painted mask is called in commands and archives
STROKES = re.compile(r"paint-[0-9a-f]{8}\.png")  # and painted colour
HASHED = re.compile(r"(?<=strokes=)sha256:[0-9a-f]{64}")  # as a record has it


class Settings(BaseModel):
    """All that the page sets. Methods, editors, masks and operations are specs, "" for none.

    ``mask`` is ``mask.png`` for a painted one; ``variants``: so many seeds from ``seed`` on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = "scenes"
    source: str = ""
    target: str = ""
    method: str = "edit-friendly"
    editor: str = ""
    mask: str = ""
    operations: tuple[str, ...] = ()
    steps: int | None = None
    guidance: float | None = None
    source_guidance: float | None = None
    seed: int = 0
    variants: int = 1
    size: int | None = None
    dtype: str = "float32"

    @property
    def seeds(self) -> list[int]:
        return list(range(self.seed, self.seed + self.variants))


@dataclasses.dataclass(frozen=True)
class Restored:
    """Settings of a record, the picture that it shows, and whose edit it is."""

    settings: Settings
    variant: int
    image: str  # sha256 of the source's pixels
    notes: tuple[str, ...] = ()


class _Source(BaseModel):
    prompt: list[str]
    image: list[str]
    size: list[dict[str, tuple[int, int]]] = []
    seed: list[int]
    method: str
    steps: int
    timesteps: list[int] = []
    guidance: float
    operations: list[str] = []


class _Picture(BaseModel):
    prompt: str
    source: int = 0


class _Model(BaseModel):
    name: str
    dtype: str = "float32"
    cache: int | None = None
    mixed: str | None = None
    tiling: bool = False

    def notes(self) -> list[str]:
        """What moved the picture and is not a setting here (docs/performance.md)."""
        used = self.model_dump(include={"cache", "mixed", "tiling"}, exclude_defaults=True)
        if not used:
            return []
        said = " and ".join(f"{name}={value}" for name, value in used.items())
        return [f"the picture was made with {said}, which is not used here: it may differ a little"]


class _Record(BaseModel):
    task: str
    model: _Model
    source: _Source
    guidance: float
    editor: str | None = None
    mask: str | None = None
    picture: _Picture


def restored(record: Mapping[str, Any], known: Mapping[str, str] | None = None) -> Restored:
    """The settings of a record. Raises InputError for one that is no edit's, or damaged.

    ``known``: names of a mask and of strokes by the hashes that stand in a record; others are lost.
    """
    if record.get("task") != "edit":
        raise InputError(
            f"the record is of the task {record.get('task')!r}; only edits can be restored"
        )
    try:
        read = _Record.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"the record is damaged: {where}: {first['msg']}") from None
    notes = read.model.notes()
    names = known or {}

    def word(text: str | None, kind: str, table: Mapping[str, type]) -> str:
        if text is None:
            return ""
        try:
            return spec_of(parse_repr(text, kind, table), kind, table)
        except (InputError, TypeError, ValueError) as error:
            notes.append(str(error))
            return ""

    source = read.source
    if not source.seed or not 0 <= read.picture.source < len(source.seed):
        raise InputError("the record is damaged: its picture has no seed")
    painted = (read.mask or "").startswith("sha256:")
    mask = names.get(read.mask or "", "") if painted else word(read.mask, "mask", MASKS)
    if painted and not mask:
        notes.append("the mask was painted and is not in the PNG: paint it again")
    if source.timesteps:
        notes.append("its timesteps were given as they are; here only their number is")
    size = side_of(source.size[0], notes) if source.size else None
    settings = Settings(
        model=read.model.name,
        dtype=read.model.dtype,
        source=source.prompt[0] if source.prompt else "",
        target=read.picture.prompt,
        method=word(source.method, "method", METHODS) or "edit-friendly",
        editor=word(read.editor, "editor", EDITORS),
        mask=mask,
        operations=tuple(
            filter(
                None,
                (word(told(o, names), "operation", OPERATIONS) for o in source.operations),
            )
        ),
        steps=source.steps,
        guidance=read.guidance,
        source_guidance=source.guidance,
        seed=source.seed[0],
        variants=len(source.seed),
        size=size,
    )
    image = source.image[0] if source.image else ""
    return Restored(settings, read.picture.source, image, tuple(notes))


def told(operation: str, names: Mapping[str, str]) -> str:
    """A record's operation with the names of strokes that are known in place of their hashes."""
    return HASHED.sub(lambda m: repr(names[m[0]]) if m[0] in names else m[0], operation)


def strokes_in(operations: Sequence[str]) -> list[str]:
    """The names of painted strokes in operations' specs."""
    return [name for spec in operations for name in STROKES.findall(spec)]


def side_of(fit: Mapping[str, tuple[int, int]], notes: list[str]) -> int | None:
    """The shorter side that brings a picture to the size of the record."""
    try:
        own, size = fit["original"], fit["size"]
        if fitted_size(own, min(size)) == tuple(size):
            return min(size)
    except (KeyError, ValueError):
        pass
    notes.append("the working size of the record was none of the picture's own proportions")
    return None


def record_in(data: bytes) -> dict[str, Any] | None:
    """The record in an uploaded picture, None where there is none; only its header is read."""
    from PIL import Image

    try:
        text = Image.open(io.BytesIO(data), formats=["PNG"]).info.get(KEY)
        record = json.loads(text) if isinstance(text, str) and len(text) <= MAX_RECORD else None
    except Exception:  # no PNG, or none with a record: then it is a photo like others
        return None
    return record if isinstance(record, dict) else None
