"""Form fields of methods and editors, generated from their dataclasses and docstrings."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from noisespace.web.written import WRITTEN, text_of

Kind = Literal["number", "whole", "switch", "choice", "text"]
Range = tuple[float, float, float]  # lowest, highest, step

# Where the range that `span` derives from the default would be odd; by field, or method.field.
RANGES: dict[str, Range] = {
    "skip": (0, 0.95, 0.01),
    "edit-friendly.eta": (0.01, 1, 0.01),
    "cycle-diffusion.eta": (0.01, 1, 0.01),
    "strength": (0.05, 1, 0.05),
    "diffedit.strength": (0.05, 0.95, 0.05),
    "color-edit.strength": (0, 0.3, 0.01),
    "scale": (0, 50, 0.5),
    "content": (0, 100, 1),
    "amount": (0, 1, 0.01),
    "ratio": (0.5, 10, 0.1),
    "threshold": (0.01, 0.99, 0.01),
    "guidance": (1, 20, 0.5),
    "regularise": (0, 20, 1),
    "below": (0, 1000, 10),
    "lr": (0.0001, 0.1, 0.0001),
    "text_lr": (0.0001, 0.1, 0.0001),
    "tolerance": (0, 0.0001, 0.000001),
    "p": (0.5, 1, 0.01),
    "step": (0, 50, 1),
    "layer": (0, 15, 1),
    "dx": (-512, 512, 1),
    "dy": (-512, 512, 1),
    "seed": (0, 1000, 1),
}
# What a docstring says only of several fields together.
EXTRA = {
    "source_sentences": "sentences about the source, joined by |; with target sentences they give "
    "the direction of the edit",
    "target_sentences": "sentences about the target, joined by |",
    "scale": "how strongly the score moves the picture",
    "color-edit.strength": "how much of the colour is added at each step",
}
LONGEST = 240  # characters of help beside a field


@dataclass(frozen=True)
class Field:
    """One field of a form. ``span`` is of sliders, ``choices`` of menus."""

    name: str
    kind: Kind
    default: Any
    help: str
    span: Range = (0, 1, 0.01)
    choices: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return WRITTEN.get(self.name, self.name).replace("_", " ")

    @property
    def shown(self) -> Any:
        """The default as the form shows it: as text where the field is one."""
        return text_of(self.default) if self.kind in ("text", "choice") else self.default


def fields_of(name: str, table: Mapping[str, type]) -> list[Field]:
    """The fields of what ``name`` names in a table, in the order of its dataclass.

    Fields that hold pictures, models or functions have no form and are left out.
    """
    cls = table[name]
    hints = typing.get_type_hints(cls)
    out = []
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        if hint is Any:
            continue
        default = "" if field.default is dataclasses.MISSING else field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        kind = kind_of(hint, default)
        span = RANGES.get(f"{name}.{field.name}") or RANGES.get(field.name) or derived(default)
        said = EXTRA.get(f"{name}.{field.name}") or help_of(field.name, cls, table)
        said = said or EXTRA.get(field.name, "")
        out.append(Field(field.name, kind, default, said, span, choices_of(hint)))
    return out


def kind_of(hint: Any, default: Any) -> Kind:
    """What a field of a type and default is filled in with."""
    if choices_of(hint):
        return "choice"
    if isinstance(default, bool):
        return "switch"
    if isinstance(default, int):
        return "whole"
    return "number" if isinstance(default, float) else "text"


def choices_of(hint: Any) -> tuple[str, ...]:
    """The words that a field may hold, () where it is no choice."""
    if typing.get_origin(hint) is typing.Literal:
        return tuple(map(str, typing.get_args(hint)))
    return ("none", "true", "false") if set(typing.get_args(hint)) == {bool, type(None)} else ()


def derived(default: Any) -> Range:
    """A slider's range about a default: shares go from 0 to 1, others to four times as far."""
    if isinstance(default, bool) or not isinstance(default, (int, float)):
        return 0, 1, 0.01
    if isinstance(default, int):
        return min(1, default), max(10, 4 * default), 1
    return (0, 1, 0.01) if 0 <= default <= 1 else (0, 4 * default, default / 20)


def help_of(name: str, cls: type, table: Mapping[str, type]) -> str:
    """What the docstring says of a field; of another entry's same field where it says nothing."""
    for other in (cls, *table.values()):
        said = clause(name, inspect.getdoc(other) or "")
        if said and (other is cls or name in {f.name for f in dataclasses.fields(other)}):
            return said
    return ""


def clause(name: str, text: str) -> str:
    """The part of a docstring about a field: ``a``, ``b``: what they are; ``c``: ..."""
    text = " ".join(text.split())
    parts = re.split(
        r"; (?=``)|(?<=[a-z0-9)`])\. (?=[A-Z`])|(?<=[.)]) (?=``)|: (?=``\w+``,? )", text
    )
    found = [p for p in parts if f"``{name}``" in p or f"``{name}=" in p]
    if not found:
        return ""
    # a part that is about the field begins with it; others only mention it
    found.sort(key=lambda p: not re.match(rf"(``\w+``,? (and )?)*``{name}``", p))
    said = re.sub(r"^(``\w+``(, | and )?)+: ", "", found[0])
    said = said.replace("``", "").strip().rstrip(".;")
    return said if len(said) <= LONGEST else f"{said[:LONGEST].rsplit(' ', 1)[0]} ..."


def spec(name: str, values: Mapping[str, Any], fields: Sequence[Field]) -> str:
    """``edit-friendly:skip=0.2`` of what a form holds; fields at their default are left out."""
    parts = []
    for field in fields:
        value = values.get(field.name, field.default)
        if field.kind == "number":
            value = float(value)  # an int would count steps where a share is meant
        elif field.kind == "whole" and float(value).is_integer():
            value = int(value)
        text = text_of(value).strip()
        if text and text != text_of(field.default):
            parts.append(f"{WRITTEN.get(field.name, field.name)}={text}")
    return f"{name}:{','.join(parts)}" if parts else name


def form_values(choice: Any, fields: Sequence[Field]) -> dict[str, Any]:
    """What a form shows of a method or editor; a value that a slider lacks is left at its default.

    The spec keeps such a value (a pair, a count of steps), so that it is not lost.
    """
    out = {}
    for field in fields:
        value = getattr(choice, field.name)
        if field.kind in ("text", "choice"):
            out[field.name] = text_of(value)
        elif field.kind == "switch":
            out[field.name] = bool(value)
        else:
            fits = isinstance(value, (int, float)) and not isinstance(value, bool)
            fits = fits and (field.kind == "whole") == isinstance(value, int)
            fits = fits and field.span[0] <= value <= field.span[1]
            out[field.name] = value if fits else field.default
    return out
