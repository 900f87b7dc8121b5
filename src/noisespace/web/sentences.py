"""Why something did not work, for whoever asked for it: one sentence each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from noisespace.errors import reason


def failure(error: Exception) -> str:
    """Why a job failed, one sentence."""
    if isinstance(error, ValidationError):
        return invalid(error)
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "out of memory: use a smaller size, fewer variants or fewer targets"
    return reason(error)


def invalid(error: ValidationError) -> str:
    """What is wrong with a request, one sentence, without what was given."""
    return first_error(error.errors(include_url=False, include_input=False, include_context=False))


def first_error(errors: Sequence[Any]) -> str:
    """The first of pydantic's errors, one sentence: the field and what is wrong with it."""
    first = errors[0]
    # a part with a bracket names one of pydantic's own validators, not a field
    place = ".".join(str(part) for part in first["loc"] if part != "body" and "[" not in str(part))
    text = " ".join(str(first["msg"]).removeprefix("Value error, ").split())[:600]
    return f"{place}: {text}" if place else text
