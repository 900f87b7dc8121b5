"""What makes an edit again: as a command, as Python, as one archive."""

from __future__ import annotations

import dataclasses
import io
import shlex
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

from noisespace.editing import EDITORS, MASKS, OPERATIONS
from noisespace.inversion import METHODS
from noisespace.models.loading import EMBEDDED
from noisespace.planning.parsing import parse_choice
from noisespace.web.records import PAINTED, Settings

INPUT = "input.png"
FOLDER = "# {}: the model's folder"  # where a server does not tell it


def default_dtype(model: str) -> str | None:
    """What a model is loaded in on every device; None where that depends on the device."""
    return "float32" if model in EMBEDDED else None


def command(
    settings: Settings, image: str = INPUT, out: str = "edit.png", model: str | None = None
) -> str:
    """The command line that writes the same pictures.

    ``model``: as ``--model`` takes it, None where its name does; "" for a folder that is not told,
    which a comment says then.
    """
    words = ["noisespace", "edit", image]
    options: list[tuple[str, Any, Any]] = [  # name, value, what it is when not given
        ("--source", settings.source, None),
        ("--target", settings.target, None),
        ("--model", model or settings.model, "scenes"),
        ("--method", settings.method, "edit-friendly"),
        ("--editor", settings.editor, ""),
        ("--mask", settings.mask, ""),
        *(("--operation", operation, "") for operation in settings.operations),
        ("--steps", settings.steps, None),
        ("--source-guidance", settings.source_guidance, None),
        ("--guidance", settings.guidance, None),
        ("--seed", settings.seed, 0),
        ("--seeds", settings.variants, 1),
        ("--size", settings.size, None),
        ("--dtype", settings.dtype, default_dtype(settings.model)),
        ("-o", out, None),
    ]
    for name, value, usual in options:
        if value != usual:
            text = str(value)
            words += [f"{name}={text}"] if text.startswith("-") else [name, text]
    written = " ".join(map(shlex.quote, words))
    return f"{FOLDER.format(settings.model)}\n{written}" if model == "" else written


def python(settings: Settings, image: str = INPUT, model: str | None = None) -> str:
    """The Python that makes the same pictures; ``model`` as for `command`."""
    many = settings.variants > 1
    count = f" * {settings.variants}" if many else ""
    photo = f"[{image!r}]{count}" if many else repr(image)
    source = f"[{settings.source!r}]{count}" if many else repr(settings.source)
    target = f"[[{settings.target!r}]]{count}" if many else repr(settings.target)
    method = python_of(parse_choice(settings.method, "method", METHODS))
    invert = {
        "steps": settings.steps,
        "guidance": settings.source_guidance,
        "seed": settings.seeds if many else settings.seed,
        "size": settings.size,
    }
    edit = {
        "guidance": settings.guidance,
        "editor": _choice(settings.editor, "editor", EDITORS),
        "mask": repr(PAINTED)
        if settings.mask == PAINTED
        else _choice(settings.mask, "mask", MASKS),
        "seed": settings.seed,
    }
    same = settings.dtype == default_dtype(settings.model)
    dtype = "" if same else f", dtype={settings.dtype!r}"
    operations = [
        f"code = {_choice(spec, 'operation', OPERATIONS)}(model, code)"
        for spec in settings.operations
    ]
    lines = [
        "import noisespace as ns",
        "",
        *([FOLDER.format(settings.model)] if model == "" else []),
        f"model = ns.load({model or settings.model!r}{dtype})",
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


def _choice(spec: str, kind: str, table: Mapping[str, type]) -> str | None:
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
