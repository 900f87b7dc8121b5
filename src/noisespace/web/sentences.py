"""Why something did not work, for whoever asked for it: one sentence each."""

from __future__ import annotations

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
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"] if isinstance(part, (str, int)))
    text = first["msg"].removeprefix("Value error, ")
    return f"{place}: {text}" if place else text
