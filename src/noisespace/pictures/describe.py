"""A choice as the record writes it: its repr, with pictures as the hash of what is in them."""

from __future__ import annotations

import hashlib
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PLAIN = (str, int, float, bool, type(None))
PICTURES = ("strokes", "mask")  # fields in which a text is the path of a picture


def describe(choice: Any) -> str:
    """repr(choice) that is the same for the same choice, on every machine and in every run.

    In a dataclass's fields, arrays, pictures and picture files become ``sha256:...`` of their
    pixels (files but strokes: of their bytes), since a path says nothing elsewhere and an object's
    address changes from run to run. A field without ``repr`` is told where it is not the default.
    """
    if is_dataclass(choice) and not isinstance(choice, type):
        told = (f for f in fields(choice) if f.repr or getattr(choice, f.name) != f.default)
        named = (f"{f.name}={_field(f.name, getattr(choice, f.name))}" for f in told)
        return f"{type(choice).__name__}({', '.join(named)})"
    if isinstance(choice, (tuple, list)) and not all(isinstance(v, PLAIN) for v in choice):
        return f"({', '.join(map(describe, choice))})"
    if isinstance(choice, Image.Image):
        return pixels_hash(np.asarray(choice))
    if isinstance(choice, np.ndarray):
        return pixels_hash(choice)
    if isinstance(choice, Path):
        known = choice.is_file()
        return f"sha256:{hashlib.sha256(choice.read_bytes()).hexdigest()}" if known else choice.name
    if isinstance(choice, partial):
        given = [describe(v) for v in choice.args]
        given += [f"{k}={describe(v)}" for k, v in sorted(choice.keywords.items())]
        return f"partial({', '.join([describe(choice.func), *given])})"
    if callable(choice) and hasattr(choice, "__qualname__"):
        name = f"{choice.__module__}.{choice.__qualname__}"
        code = getattr(choice, "__code__", None)
        if code is None or "<lambda>" not in name:
            return name
        body = repr((code.co_code, code.co_consts, code.co_names))
        return f"{name}#{hashlib.sha256(body.encode()).hexdigest()[:12]}"  # lambdas share a name
    if type(choice).__repr__ is object.__repr__:
        return f"{type(choice).__module__}.{type(choice).__qualname__}()"  # without its address
    return repr(choice)


def _field(name: str, value: Any) -> str:
    if name in PICTURES and isinstance(value, (str, Path)):
        return _picture(name, Path(value))
    return describe(value)


def _picture(name: str, path: Path) -> str:
    """The hash of a file's pixels, as if they had been given; of its bytes if it is no picture."""
    from noisespace.errors import InputError
    from noisespace.pictures.images import paint_layer

    if name == "strokes" and path.is_file():
        try:
            return describe(paint_layer(path))
        except InputError:  # whoever paints with it says what is wrong
            pass
    return describe(path)


def pixels_hash(array: np.ndarray) -> str:
    return f"sha256:{hashlib.sha256(repr(array.shape).encode() + array.tobytes()).hexdigest()}"
