"""Form fields of methods and editors, generated from their dataclasses and docstrings."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from noisespace.planning.catalogue import help_of
from noisespace.planning.parsing import WRITTEN
from noisespace.system.fields import Field as Setting
from noisespace.system.fields import fields_of as settings_of
from noisespace.web.written import text_of

Kind = Literal["number", "whole", "switch", "choice", "text"]
Range = tuple[float, float, float]  # lowest, highest, step
SHORT, STEP = 100, 0.01  # a range that is a slider as it stands, and the slider's step


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
    shown = (field for field in settings_of(table[name]) if field.hint is not Any)
    return [form_field(field, table[name], table) for field in shown]


def form_field(field: Setting, cls: type, table: Mapping[str, type]) -> Field:
    """A field of a class as a form has it."""
    default = "" if field.default is dataclasses.MISSING else field.default
    kind, said = kind_of(field.hint, default), help_of(field.name, cls, table)
    return Field(field.name, kind, default, said, span_of(field), choices_of(field.hint))


def span_of(field: Setting) -> Range:
    """A slider's range: the class's own, else the valid one where it is short, or a guess in it."""
    if field.slider:
        return field.slider.low, field.slider.high, field.slider.step
    step = STEP if kind_of(field.hint, field.default) != "whole" else 1
    left, right = (step * (end is not None) for end in (field.interval.gt, field.interval.lt))
    low, high = round(field.low + left, 6), round(field.high - right, 6)
    if high - low <= SHORT:
        return low, high, max(step, round((high - low) / 200, 6))
    guess = derived(field.default)
    return max(guess[0], low), min(guess[1], high), guess[2]


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
