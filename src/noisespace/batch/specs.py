"""Methods, editors, masks and sizes of rows, read from their specs once, and checked early."""

from __future__ import annotations

from functools import cache
from typing import Any

from noisespace.batch.plan import PAINTED, Choice
from noisespace.errors import InputError
from noisespace.models.base import Model
from noisespace.planning.parsing import parse_choice, parse_editor, parse_method
from noisespace.planning.settings import check_guidance, check_inversion


@cache
def method_of(spec: str) -> Any:
    return parse_method(spec)


@cache
def editor_of(spec: str | None) -> Any:
    return None if spec is None else parse_editor(spec)


@cache
def mask_of(spec: str) -> Any:
    """What finds a mask; None without one, and where rows have painted ones."""
    from noisespace.editing import MASKS

    return None if spec in ("", PAINTED) else parse_choice(spec, "mask", MASKS)


@cache
def side(text: str | None) -> int | tuple[int, int] | None:
    """``64`` or ``WIDTHxHEIGHT`` as a side or (height, width)."""
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(p.isascii() and p.isdigit() and 0 < int(p) <= 8000 for p in parts):
        raise InputError(f"size must be a side such as 64 or WIDTHxHEIGHT, got {text!r}")
    return int(parts[0]) if len(parts) == 1 else (int(parts[1]), int(parts[0]))


@cache
def parsed(choice: Choice) -> None:
    """Reads everything that a choice says. Raises InputError for what it cannot say."""
    method_of(choice.method)
    editor_of(choice.editor)
    mask_of(choice.mask)
    side(choice.size)


def check_choice(model: Model, choice: Choice) -> None:
    """Raises InputError, before any network runs, where a choice cannot run on this model."""
    check_inversion(model, method_of(choice.method), choice.steps, choice.source_guidance, None)
    if choice.guidance is not None:
        check_guidance(model, choice.guidance)
    if (choice.editor or choice.mask) and not model.has_text and choice.mask != PAINTED:
        raise InputError(f"the model {model.name} is unconditional: it takes no editor and no mask")
    size = side(choice.size)
    for one in (size,) if isinstance(size, int) else size or ():
        if one % model.multiple:
            raise InputError(f"size must be multiples of {model.multiple}, got {choice.size!r}")
