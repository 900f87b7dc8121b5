"""A choice as the record writes it: its repr, with pictures as the hash of what is in them."""

from __future__ import annotations

import hashlib
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def describe(choice: Any) -> str:
    """repr(choice) that is the same for the same choice, on every machine and in every run.

    In a dataclass's fields, arrays, pictures and picture files become ``sha256:...`` of their
    pixels (of the file's bytes), since a path says nothing elsewhere and an object's address
    changes from run to run.
    """
    if is_dataclass(choice) and not isinstance(choice, type):
        named = (f"{f.name}={describe(getattr(choice, f.name))}" for f in fields(choice) if f.repr)
        return f"{type(choice).__name__}({', '.join(named)})"
    if isinstance(choice, (tuple, list)) and any(map(is_dataclass, choice)):
        return f"({', '.join(map(describe, choice))})"
    if isinstance(choice, Image.Image):
        return pixels_hash(np.asarray(choice))
    if isinstance(choice, np.ndarray):
        return pixels_hash(choice)
    if isinstance(choice, Path):
        known = choice.is_file()
        return f"sha256:{hashlib.sha256(choice.read_bytes()).hexdigest()}" if known else choice.name
    return repr(choice)


def pixels_hash(array: np.ndarray) -> str:
    return f"sha256:{hashlib.sha256(repr(array.shape).encode() + array.tobytes()).hexdigest()}"
