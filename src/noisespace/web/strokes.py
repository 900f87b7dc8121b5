"""Colour that was painted: kept with the session, named in operations by what is in it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from noisespace.errors import InputError
from noisespace.pictures.images import unpack_layer
from noisespace.planning.parsing import parse_operation
from noisespace.web.limits import Limits
from noisespace.web.records import STROKES, strokes_in
from noisespace.web.requests import Paint
from noisespace.web.session import Session

LONGEST = 32  # pictures of strokes that a session keeps


def keep(session: Session, layer: Image.Image) -> str:
    """Keeps strokes (RGBA, of the photo's size); returns the name that operations may use."""
    pixels = np.asarray(layer.convert("RGBA"))
    name = f"paint-{hashlib.sha256(pixels.tobytes()).hexdigest()[:8]}.png"
    if name not in session.strokes:
        session.strokes[name] = session.write(name, layer_bytes(layer))
        while len(session.strokes) > LONGEST:
            old = session.strokes.pop(next(iter(session.strokes)))
            Path(old).unlink(missing_ok=True)
    return name


def layer_bytes(layer: Image.Image) -> bytes:
    """Strokes as a PNG with transparency and nothing else."""
    buffer = BytesIO()
    Image.fromarray(np.asarray(layer.convert("RGBA"))).save(buffer, "PNG")
    return buffer.getvalue()


def spec_of_paint(name: str, strength: float) -> str:
    """The operation that paints with kept strokes."""
    return f"color-edit:strokes={name},strength={float(strength):g}"


def with_strokes(
    session: Session, operations: Sequence[str], limits: Limits
) -> tuple[str | Paint, ...]:
    """Operations for a request: those that name strokes hold them, any other stays a spec."""
    return tuple(
        one if not strokes_in((one,)) else painted(session, one, limits) for one in operations
    )


def painted(session: Session, spec: str, limits: Limits) -> Paint:
    """An operation that names kept strokes. Raises InputError where they are not here."""
    choice = parse_operation(spec)
    path = session.strokes.get(str(choice.strokes))
    if path is None or not STROKES.fullmatch(str(choice.strokes)):
        raise InputError(
            f"the strokes {choice.strokes} are not here (any more): paint them once more, or take "
            "them out of the operations"
        )
    layer = unpack_layer(Path(path).read_bytes(), "the paint", max_pixels=limits.pixels)
    return Paint(strokes=layer, strength=choice.strength, window=choice.window)
