"""Handlers of the page whose errors are sentences; gradio would print a traceback instead."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from noisespace.errors import InputError
from noisespace.web.asking import LOADING, sentence
from noisespace.web.panel import panel


def safe(
    handler: Callable[..., Any], outputs: Sequence[Any] = (), said: Any = None
) -> Callable[..., Any]:
    """A handler that raises nothing: what goes wrong is a sentence in ``said``, one of its outputs.

    The other outputs stay as they are. Not for generators.
    """

    @functools.wraps(handler)
    def guarded(*given: Any) -> Any:
        try:
            return handler(*given)
        except Exception as error:
            # without a session, which comes first, the event was earlier than the page
            early = given[:1] == (None,) and not isinstance(error, InputError)
            told = panel(LOADING if early else sentence(error), "error")
            stays = [told if one is said else gr.skip() for one in outputs]
            return stays[0] if len(stays) == 1 else stays or None

    return guarded
