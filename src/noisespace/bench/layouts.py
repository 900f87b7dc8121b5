"""What the readers of public layouts share: files and entries from outside, checked."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from noisespace.errors import InputError
from noisespace.pictures.decode import read_bytes

MAX_BYTES = 512 * 2**20  # of a file of annotations; those of COCO's training images take 90 MB


class Entry(BaseModel):
    """A row of somebody's file: texts are texts; what nobody asked for is left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


E = TypeVar("E", bound=Entry)


def entry_of(kind: type[E], value: Any, where: str) -> E:
    """One entry of a file, checked. Raises InputError in one sentence that names the field."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        got = "" if first["type"] == "missing" else f", got {str(first['input'])[:80]!r}"
        name = f"{field}: " if field else ""
        text = first["msg"][:1].lower() + first["msg"][1:]
        raise InputError(f"{where}: {name}{text}{got}") from None


def read_text(path: Path) -> str:
    """A file of annotations as text."""
    try:
        return read_bytes(path, MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: is no text in UTF-8; save it as UTF-8") from None


def read_json(path: Path) -> Any:
    """What a JSON file holds."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: is no valid JSON: {error}") from None


def inside(root: Path, name: str, where: str) -> Path:
    """The file that a layout names, relative to its folder.

    Raises InputError for one that does not exist, and for one outside the folder: a data set is
    data, and must not make anybody read another file.
    """
    if not name.strip():
        raise InputError(f"{where}: names no image, expected a path relative to {root}")
    try:
        path, home = (root / name).resolve(), root.resolve()
        known = path.is_file()
    except (OSError, ValueError, RuntimeError):  # too long, a zero byte, links in a ring
        path, home, known = root, root, False
    if not path.is_relative_to(home):
        raise InputError(f"{where}: names {name!r}, which lies outside {root}; move it there")
    if not known:
        raise InputError(f"{where}: names {name!r}, but there is no such file in {root}")
    return path


@dataclass(frozen=True)
class Numbered:
    """Ids of several edits of one image, in a layout that gives none: ``cat.png-1``, ``-2`` ..."""

    seen: Counter[str] = field(default_factory=Counter)

    def __call__(self, image: str) -> str:
        self.seen[image] += 1
        return f"{image}-{self.seen[image]}"
