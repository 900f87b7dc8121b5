"""Methods and editors as words: from a record's repr, and as the spec of the command line."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from noisespace.errors import InputError
from noisespace.planning.parsing import WRITTEN, parse_choice


def text_of(value: Any) -> str:
    """A field's value as ``noisespace.planning.parsing`` reads it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "+".join(f"{key}:{text_of(one)}" for key, one in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        pair = len(value) == 2 and not all(" " in str(one) for one in value)
        return ("/" if pair else "|").join(map(text_of, value))
    return str(value)


def spec_of(choice: Any, kind: str, table: Mapping[str, type]) -> str:
    """The spec of a method or editor. Raises InputError where no spec says the same."""
    name = next((n for n, cls in table.items() if type(choice) is cls), None)
    if name is None:
        raise InputError(f"{kind} {type(choice).__name__} has no name on the command line")
    parts = []
    for field in dataclasses.fields(choice):
        value = getattr(choice, field.name)
        usual = field.default
        if field.default_factory is not dataclasses.MISSING:
            usual = field.default_factory()
        if value != usual or type(value) is not type(usual):
            parts.append(f"{WRITTEN.get(field.name, field.name)}={text_of(value)}")
    text = f"{name}:{','.join(parts)}" if parts else name
    if parse_choice(text, kind, table) != choice:
        raise InputError(f"{kind} {choice!r} cannot be written as one word")
    return text


def parse_repr(text: str, kind: str, table: Mapping[str, type]) -> Any:
    """What a record's ``EditFriendly(skip=0.36, eta=1.0, live=False)`` means: parsed, never run."""
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise ValueError("no call with named values")
        values = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(
            f"the record's {kind}, {text[:80]!r}, holds what a record cannot give back "
            "(a picture or a model): set it by hand"
        ) from None
    classes = {cls.__name__: cls for cls in table.values()}
    cls = classes.get(call.func.id)
    if cls is None:
        raise InputError(f"the record's {kind} {call.func.id!r} is none that this version knows")
    if unknown := values.keys() - {f.name for f in dataclasses.fields(cls)}:
        raise InputError(f"the record's {kind} has a field {min(unknown)!r} that is not known")
    return cls(**values)
