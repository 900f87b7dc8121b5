"""Methods, editors, masks and operations as a stranger may name them.

A spec on the command line may name a file; one from a client never does. What costs memory before
the first step can be stopped is bounded here, everything else by the time limit of a job.
"""

from __future__ import annotations

import re
import typing
from dataclasses import MISSING, fields
from math import isfinite
from typing import Any

from noisespace.errors import InputError
from noisespace.planning.parsing import parse_choice, parse_editor, parse_method, parse_operation

LONGEST = 500  # characters of a spec
SMALL = {"maps": 64, "rank": 64, "iterations": 1000, "text_iterations": 1000, "descent": 64}
LARGE = 10_000  # any other number but a seed
COLOUR = re.compile(r"#[0-9a-fA-F]{3,8}|[a-zA-Z]{3,20}")


def method_of(spec: str) -> Any:
    """The inversion that a client's spec names."""
    return harmless(parse_method(short(spec)), spec)


def editor_of(spec: str | None) -> Any:
    """The editor that a client's spec names; None for None, "" and "none"."""
    if spec is None or spec.strip().lower() in ("", "none"):
        return None
    return harmless(parse_editor(short(spec)), spec)


def mask_of(spec: str) -> Any:
    """What finds a mask, ``diffedit`` or ``attention:word=cat``: never a file."""
    from noisespace.editing import MASKS

    return harmless(parse_choice(short(spec), "mask", MASKS), spec)


def operation_of(spec: str) -> Any:
    """The operation on a code that a client's spec names."""
    return harmless(parse_operation(short(spec)), spec)


def short(spec: str) -> str:
    if len(spec) > LONGEST:
        raise InputError(f"a spec may have {LONGEST} characters, got {len(spec)}")
    return spec


def harmless(choice: Any, spec: str) -> Any:
    """The choice itself where no field names a file or a number beyond its bound."""
    hints = typing.get_type_hints(type(choice))
    for field in fields(choice):
        value, what = getattr(choice, field.name), f"{spec.partition(':')[0]}: {field.name}"
        if hints[field.name] is Any and isinstance(value, str):
            default = None if field.default is MISSING else field.default
            colour = field.name == "color" and COLOUR.fullmatch(value)
            if value != default and not colour:
                raise InputError(f"{what} would name a file or folder, which no client may")
        if field.name != "seed":
            bound = SMALL.get(field.name, LARGE)
            for number in numbers(value):
                if not isfinite(number) or abs(number) > bound:
                    raise InputError(f"{what} must be at most {bound}, got {number}")
    return choice


def numbers(value: Any) -> list[float]:
    """The numbers in a field's value."""
    if isinstance(value, dict):
        return [n for part in value.values() for n in numbers(part)]
    if isinstance(value, (tuple, list)):
        return [n for part in value for n in numbers(part)]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return [value]
    return []


def with_field(spec: str, field: str, value: Any) -> str:
    """A spec with one field set: ``edit-friendly:eta=1`` and skip=.2 give both."""
    name, _, rest = spec.partition(":")
    kept = [p for p in rest.split(",") if p.strip() and p.partition("=")[0].strip() != field]
    return f"{name}:{','.join([*kept, f'{field}={value}'])}"
