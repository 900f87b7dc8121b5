"""Methods as one word: ``edit-friendly:skip=36,eta=1``, read by the fields of their dataclasses."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from typing import Any

from noisespace.errors import InputError

# Named in --help, which must not import torch; a test holds it to noisespace.inversion.METHODS.
NAMES = (
    "edit-friendly",
    "cycle-diffusion",
    "ddim",
    "fixed-point",
    "direct",
    "negative-prompt",
    "prox-npi",
    "sdedit",
)
WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def parse_method(spec: str) -> Any:
    """The method that a spec names, e.g. ``cycle-diffusion:skip=.36,eta=.1``.

    An int stays an int (``skip=36`` counts steps) and a float a float (``skip=.36`` is a share).
    Raises InputError, with the nearest name, for an unknown method or field.
    """
    from noisespace.inversion import METHODS

    name, _, rest = spec.strip().partition(":")
    name = name.strip().lower().replace("_", "-")
    if name not in METHODS:
        raise InputError(f"method {name!r} is not known{_nearest(name, list(METHODS))}")
    cls = METHODS[name]
    hints = typing.get_type_hints(cls)
    fields = {f.name: hints[f.name] for f in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    for part in filter(None, (p.strip() for p in rest.split(","))):
        field, equals, text = (p.strip() for p in part.partition("="))
        if not equals or not field:
            raise InputError(f"method {name}: got {part!r}, expected field=value")
        if field not in fields:
            raise InputError(f"method {name} has no field {field!r}{_nearest(field, list(fields))}")
        if field in values:
            raise InputError(f"method {name}: the field {field} is given twice")
        values[field] = _value(f"method {name}: {field}", text, fields[field])
    return cls(**values)


def _nearest(word: str, known: list[str]) -> str:
    """The end of a sentence on an unknown name: what was perhaps meant, and what there is."""
    close = difflib.get_close_matches(word, known, 1, 0.5)
    meant = f"; did you mean {close[0]}?" if close else ";"
    return f"{meant} (there is {', '.join(known)})" if known else "; it has no fields"


def _value(what: str, text: str, hint: Any) -> Any:
    """A text as one of the types that a field takes."""
    literals = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
    if literals:
        if text in literals:
            return text
        raise InputError(f"{what} must be one of {', '.join(map(str, literals))}, got {text!r}")
    kinds = set(typing.get_args(hint)) or {hint}
    if type(None) in kinds and text.lower() == "none":
        return None
    if bool in kinds and text.lower() in WORDS:
        return WORDS[text.lower()]
    for kind in (int, float):
        if kind in kinds:
            try:
                return kind(text)
            except ValueError:
                continue
    if kinds & {str, Any}:
        return None if text.lower() == "none" and Any in kinds else text
    names = " or ".join(_word(k) for k in sorted(kinds, key=str))
    raise InputError(f"{what} must be {names}, got {text!r}")


def _word(kind: Any) -> str:
    words = {int: "an integer", float: "a number", bool: "true or false", type(None): "none"}
    return words.get(kind, str(kind))
