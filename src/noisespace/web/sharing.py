"""What makes an edit again: from a PNG's record, as a command, as Python, as one archive."""

from __future__ import annotations

import dataclasses
import io
import json
import shlex
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from noisespace.editing import EDITORS, MASKS, OPERATIONS
from noisespace.errors import InputError
from noisespace.inversion import METHODS
from noisespace.metadata import KEY, MAX_RECORD
from noisespace.specs import parse_choice
from noisespace.web.fields import parse_repr, spec_of

PAINTED = "mask.png"  # what a painted mask is called in commands and archives
INPUT = "input.png"


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
    size: str = ""
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
    guidance: float
    operations: list[str] = []


class _Picture(BaseModel):
    prompt: str
    source: int = 0


class _Model(BaseModel):
    name: str
    dtype: str = "float32"


class _Record(BaseModel):
    task: str
    model: _Model
    source: _Source
    guidance: float
    editor: str | None = None
    mask: str | None = None
    picture: _Picture


def restored(record: Mapping[str, Any]) -> Restored:
    """The settings of a record. Raises InputError for one that is no edit's, or damaged."""
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
    notes: list[str] = []

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
    if painted:
        notes.append("the mask was painted and is not in the PNG: paint it again")
    fit = source.size[0] if source.size else {}
    size = fit.get("size")
    settings = Settings(
        model=read.model.name,
        dtype=read.model.dtype,
        source=source.prompt[0] if source.prompt else "",
        target=read.picture.prompt,
        method=word(source.method, "method", METHODS) or "edit-friendly",
        editor=word(read.editor, "editor", EDITORS),
        mask="" if painted else word(read.mask, "mask", MASKS),
        operations=tuple(
            filter(None, (word(o, "operation", OPERATIONS) for o in source.operations))
        ),
        steps=source.steps,
        guidance=read.guidance,
        source_guidance=source.guidance,
        seed=source.seed[0],
        variants=len(source.seed),
        size=f"{size[1]}x{size[0]}" if size else "",
    )
    image = source.image[0] if source.image else ""
    return Restored(settings, read.picture.source, image, tuple(notes))


def record_in(data: bytes) -> dict[str, Any] | None:
    """The record in an uploaded picture, None where there is none; only its header is read."""
    from PIL import Image

    try:
        text = Image.open(io.BytesIO(data), formats=["PNG"]).info.get(KEY)
        record = json.loads(text) if isinstance(text, str) and len(text) <= MAX_RECORD else None
    except Exception:  # no PNG, or none with a record: then it is a photo like others
        return None
    return record if isinstance(record, dict) else None


def command(settings: Settings, image: str = INPUT, out: str = "edit.png") -> str:
    """The command line that writes the same pictures."""
    words = ["noisespace", "edit", image]
    options: list[tuple[str, Any, Any]] = [  # name, value, what it is when not given
        ("--source", settings.source, None),
        ("--target", settings.target, None),
        ("--model", settings.model, "scenes"),
        ("--method", settings.method, "edit-friendly"),
        ("--editor", settings.editor, ""),
        ("--mask", settings.mask, ""),
        *(("--operation", operation, "") for operation in settings.operations),
        ("--steps", settings.steps, None),
        ("--source-guidance", settings.source_guidance, None),
        ("--guidance", settings.guidance, None),
        ("--seed", settings.seed, 0),
        ("--seeds", settings.variants, 1),
        ("--size", settings.size, ""),
        ("--dtype", settings.dtype, "float32"),
        ("-o", out, None),
    ]
    for name, value, usual in options:
        if value != usual:
            text = str(value)
            words += [f"{name}={text}"] if text.startswith("-") else [name, text]
    return " ".join(map(shlex.quote, words))


def python(settings: Settings, image: str = INPUT) -> str:
    """The Python that makes the same pictures."""
    many = settings.variants > 1
    count = f" * {settings.variants}" if many else ""
    photo = f"[{image!r}]{count}" if many else repr(image)
    source = f"[{settings.source!r}]{count}" if many else repr(settings.source)
    target = f"[[{settings.target!r}]]{count}" if many else repr(settings.target)
    size = settings.size.lower().split("x") if settings.size else []
    sides = size[0] if len(size) == 1 else f"({size[1]}, {size[0]})" if size else None
    method = python_of(parse_choice(settings.method, "method", METHODS))
    invert = {
        "steps": settings.steps,
        "guidance": settings.source_guidance,
        "seed": settings.seeds if many else settings.seed,
        "size": sides,
    }
    edit = {
        "guidance": settings.guidance,
        "editor": _choice(settings.editor, "editor", EDITORS),
        "mask": repr(PAINTED)
        if settings.mask == PAINTED
        else _choice(settings.mask, "mask", MASKS),
        "seed": settings.seed,
    }
    dtype = "" if settings.dtype == "float32" else f", dtype={settings.dtype!r}"
    operations = [
        f"code = {_choice(spec, 'operation', OPERATIONS)}(model, code)"
        for spec in settings.operations
    ]
    lines = [
        "import noisespace as ns",
        "",
        f"model = ns.load({settings.model!r}{dtype})",
        f"code = ns.invert(model, {photo}, {source}, {method}{_options(invert)})",
        *operations,
        f"result = ns.edit(model, code, {target}{_options(edit)})",
        "for number, picture in enumerate(result.images, 1):",
        '    picture.save(f"edit-{number}.png")',
    ]
    return "\n".join(lines) + "\n"


def python_of(choice: Any) -> str:
    """``ns.EditFriendly(skip=0.2)``: a choice with the fields that are not at their default."""
    usual = {
        f.name: f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
        for f in dataclasses.fields(choice)
    }
    values = {name: getattr(choice, name) for name in usual}
    given = [f"{name}={value!r}" for name, value in values.items() if value != usual[name]]
    return f"ns.{type(choice).__name__}({', '.join(given)})"


def _choice(spec: str, kind: str, table: dict[str, type]) -> str | None:
    return python_of(parse_choice(spec, kind, table)) if spec else None


def _options(values: Mapping[str, Any]) -> str:
    return "".join(f", {name}={value}" for name, value in values.items() if value is not None)


def archive(files: Sequence[tuple[str, bytes]]) -> bytes:
    """A zip of named files, the same bytes for the same files; safetensors and PNG as they are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        for name, data in files:
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))  # no time: nothing that varies
            entry.external_attr = 0o644 << 16
            packed = name.endswith((".png", ".safetensors"))
            entry.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
            out.writestr(entry, data)
    return buffer.getvalue()
