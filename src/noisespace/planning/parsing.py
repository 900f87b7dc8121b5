"""Methods as one word: ``edit-friendly:skip=36,eta=1``, read by the fields of their dataclasses."""

from __future__ import annotations

import collections.abc
import difflib
import typing
from collections.abc import Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from noisespace.editing import EDITORS, MASKS, OPERATIONS
from noisespace.errors import InputError
from noisespace.inversion import METHODS
from noisespace.system.fields import fields_of, kinds_of

WRITTEN = {"self_": "self"}  # fields, as the command line writes them
WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def parse_method(spec: str) -> Any:
    """The inversion that a spec names, e.g. ``cycle-diffusion:skip=.36,eta=.1``."""
    return parse_choice(spec, "method", METHODS)


def parse_editor(spec: str) -> Any:
    """The editor that a spec names, e.g. ``prompt-to-prompt:cross=.8,blend=cat/dog``."""
    return parse_choice(spec, "editor", EDITORS)


def parse_operation(spec: str) -> Any:
    """The operation on a code that a spec names, e.g. ``shift:dx=8,fill=fresh``."""
    return parse_choice(spec, "operation", OPERATIONS)


def parse_mask(spec: str) -> Any:
    """A mask: a picture's path, or what finds one, ``diffedit`` or ``attention:word=cat``.

    A file of that name goes first. Raises InputError where it is neither.
    """
    from noisespace.pictures.decode import load

    if Path(spec).is_file() or spec.partition(":")[0] not in MASKS:
        return load(spec)
    return parse_choice(spec, "mask", MASKS)


def parse_concepts(texts: list[str]) -> Any:
    """``smile=5`` and ``glasses=-4``: concepts to add and to take away, as an editor."""
    from noisespace.editing import Concept, Concepts

    concepts = []
    for text in texts:
        prompt, equals, scale = text.rpartition("=")
        try:
            value = float(scale)
        except ValueError:
            value = None
        if not equals or not prompt.strip() or value is None:
            raise InputError(f"--concept must be WORDS=SCALE, such as smile=5, got {text!r}")
        concepts.append(Concept(prompt.strip(), abs(value), away=value < 0))
    return Concepts(tuple(concepts))


def parse_choice(spec: str, kind: str, table: Mapping[str, type]) -> Any:
    """What ``NAME:field=value,...`` names in a table of dataclasses.

    An int stays an int (``skip=36`` counts steps) and a float a float (``skip=.36`` is a share); a
    pair is written with a slash (``cross=.2/.8``, ``blend=cat/dog``), values by word with a colon
    and a plus (``reweight=red:2+dotted:.5``). Raises InputError, with the nearest name, for an
    unknown name or field.
    """
    name, _, rest = spec.strip().partition(":")
    given = name.strip()
    name = given.lower().replace("_", "-")
    if name not in table:
        raise InputError(f"{kind} {given!r} is not known{_nearest(name, list(table))}")
    fields = {field.name: field for field in fields_of(table[name])}
    read = {word: field for field, word in WRITTEN.items()}
    values: dict[str, Any] = {}
    for part in filter(None, (p.strip() for p in rest.split(","))):
        field, equals, text = (p.strip() for p in part.partition("="))
        field = read.get(field, field)
        if not equals or not field:
            raise InputError(f"{kind} {name}: got {part!r}, expected field=value")
        if field not in fields:
            raise InputError(f"{kind} {name} has no field {field!r}{_nearest(field, list(fields))}")
        if field in values:
            raise InputError(f"{kind} {name}: the field {field} is given twice")
        values[field] = _value(f"{kind} {name}: {field}", text, fields[field].hint)
    missing = [name for name, f in fields.items() if f.default is MISSING and name not in values]
    if missing:
        raise InputError(f"{kind} {name} needs {missing[0]}=..., got {spec!r}")
    return table[name](**values)


def _nearest(word: str, known: list[str]) -> str:
    """The end of a sentence on an unknown name: what was perhaps meant, and what there is."""
    close = difflib.get_close_matches(word, known, 1, 0.5)
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"{meant} (there is {', '.join(known)})" if known else "; it has no fields"


def _value(what: str, text: str, hint: Any) -> Any:
    """A text as one of the types that a field takes."""
    literals = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
    if literals:
        if text in literals:
            return text
        raise InputError(f"{what} must be one of {', '.join(map(str, literals))}, got {text!r}")
    kinds = kinds_of(hint)
    if typing.get_origin(hint) is collections.abc.Mapping:
        return _mapping(what, text, typing.get_args(hint)[1])
    if typing.get_origin(hint) is collections.abc.Sequence:
        return tuple(part.strip() for part in text.split("|"))
    pairs = [k for k in kinds if typing.get_origin(k) is tuple]
    if pairs and "/" in text:
        kind = typing.get_args(pairs[0])[0]
        ends = tuple(_value(what, part.strip(), kind) for part in text.split("/"))
        if len(ends) != 2:
            raise InputError(f"{what} must be one value or two (a/b), got {text!r}")
        return ends
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
    if str in kinds or Any in kinds:
        return None if text.lower() == "none" and Any in kinds else text
    names = " or ".join(_word(k) for k in sorted(kinds, key=str))
    raise InputError(f"{what} must be {names}, got {text!r}")


def _mapping(what: str, text: str, kind: Any) -> dict[str, Any]:
    """``red:2+dotted:.5`` as a dict."""
    out = {}
    for part in text.split("+"):
        word, colon, value = part.rpartition(":")
        if not colon or not word.strip():
            raise InputError(f"{what} must be word:value, several joined by +, got {text!r}")
        out[word.strip()] = _value(what, value.strip(), kind)
    return out


def _word(kind: Any) -> str:
    words = {int: "an integer", float: "a number", bool: "true or false", type(None): "none"}
    return words.get(kind, str(kind))
