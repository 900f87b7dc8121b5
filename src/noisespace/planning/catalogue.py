"""What every inversion, editor, mask and operation says of itself: from its class alone."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict
from typing import Any

from noisespace.editing import EDITORS, MASKS, OPERATIONS
from noisespace.inversion import METHODS
from noisespace.planning.parsing import WRITTEN
from noisespace.system.fields import Field, fields_of
from noisespace.system.listing import Listing

LISTS = {"inversions": METHODS, "editors": EDITORS, "masks": MASKS, "operations": OPERATIONS}
LONGEST = 240  # characters of help


def catalogue() -> dict[str, dict[str, dict[str, Any]]]:
    """Everything of each list, by name: class, source, what it does, settings, fields."""
    return {kind: {name: facts(name, one) for name in one} for kind, one in LISTS.items()}


def facts(name: str, table: Listing) -> dict[str, Any]:
    """Of one choice; ``steps``, ``invert`` and ``edit`` are its published settings, if any."""
    cls = table[name]
    published = getattr(cls, "defaults", None)
    return {
        "class": cls.__name__,
        "source": source_of(cls),
        "about": about(cls),
        **(asdict(published) if published else {}),
        "fields": [field_facts(field, cls, table) for field in fields_of(cls)],
    }


def field_facts(field: Field, cls: type, table: Mapping[str, type]) -> dict[str, Any]:
    """Of one field. Without a default it must be given."""
    given = field.default is MISSING
    return {
        "name": WRITTEN.get(field.name, field.name),
        **({} if given else {"default": field.default}),
        "range": field.brackets or ", ".join(field.choices),
        "help": help_of(field.name, cls, table),
    }


def source_of(cls: type) -> str:
    """The arXiv number of the paper that a class is of: the first in its docstring; "" of none."""
    found = re.search(r"arXiv\s(\d{4}\.\d{4,5})", inspect.getdoc(cls) or "")
    return found[1] if found else ""


def about(cls: type) -> str:
    """A class's first sentence or two: its docstring up to the first empty line."""
    text = " ".join((inspect.getdoc(cls) or "").partition("\n\n")[0].split())
    return text.replace("``", "`")


def help_of(name: str, cls: type, table: Mapping[str, type]) -> str:
    """What the docstring says of a field, or that of an entry which it refers to."""
    said = clause(name, own := inspect.getdoc(cls) or "")
    for other in table.values():
        refers = other is not cls and re.search(rf"\b{other.__name__}\b", said or own)
        known = name in {field.name for field in fields_of(other)}
        if refers and known and (not said or " as in " in f" {said}"):
            return clause(name, inspect.getdoc(other) or "") or said
    return said


def clause(name: str, text: str) -> str:
    """The part of a docstring about a field: ``a``, ``b``: what they are; ``c``: ..."""
    text = " ".join(text.split())
    parts = re.split(
        r"; (?=``)|(?<=[a-z0-9)`])\. (?=[A-Z`])|(?<=[.)]) (?=``)|: (?=``\w+``,? )", text
    )
    found = [p for p in parts if re.search(rf"``{name}(``|=|\()", p)]
    if not found:
        return ""
    # a part that is about the field begins with it; others only mention it
    found.sort(key=lambda p: not re.match(rf"(``\w+``,? (and )?)*``{name}``", p))
    said = re.sub(r"^(``\w+``(, | and )?)+: ", "", found[0])
    said = said.replace("``", "").strip().rstrip(".;")
    return said if len(said) <= LONGEST else f"{said[:LONGEST].rsplit(' ', 1)[0]} ..."
