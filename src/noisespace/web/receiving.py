"""A picture was given: a result of ours restores all that made it, any other is the photo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from noisespace.errors import InputError
from noisespace.pictures.metadata import png_bytes
from noisespace.planning.result import digest
from noisespace.web import asking, strokes
from noisespace.web.carrying import Carried, carried
from noisespace.web.controls import Controls
from noisespace.web.limits import Limits
from noisespace.web.panel import idle, panel
from noisespace.web.pieces import path_of
from noisespace.web.records import PAINTED, Restored, record_in, restored
from noisespace.web.session import Photo, Session


def receive(
    session: Session | None, given: Any, controls: Controls, limits: Limits, models: Sequence[str]
) -> list[Any]:
    """What photo, panel and controls become when a picture was given."""
    nothing = [gr.skip()] * len(controls.outputs)
    if session is None:
        return [None, panel(asking.LOADING, "error"), *nothing]
    try:
        path = path_of(given)
        if path is None:
            session.take(None)
            return [gr.skip(), idle(), *nothing]
        data = Path(path).read_bytes()
        record = record_in(data)
        if record is None or record.get("task") != "edit":
            session.take(asking.photo_of(session, data, limits))
            return [gr.skip(), idle(session.photo), *nothing]
        files, notes = opened(data, limits)
        found = restored(record, files.known)
        photo, said = settle(session, found, files, [*notes, *found.notes])
        settings = found.settings
        if settings.model not in models:
            said += f" Note: the model {settings.model} is not served here."
            settings = settings.model_copy(update={"model": models[0]})
        shown = controls.show(settings)
        return [photo and photo.path, panel(said, "done"), *shown]
    except Exception as error:  # what was there before stays
        before = session.photo and session.photo.path
        return [before, panel(asking.sentence(error), "error"), *nothing]
    finally:  # once it is taken: drawn before, the board would show the photo before it
        session.draw_again()


def opened(data: bytes, limits: Limits) -> tuple[Carried, list[str]]:
    """The files that a result carries; those that are damaged are a note."""
    try:
        return carried(data, limits), []
    except InputError as error:
        return Carried(), [str(error)]


def settle(
    session: Session, found: Restored, files: Carried, notes: list[str]
) -> tuple[Photo | None, str]:
    """Puts the photo, mask and strokes of a result into the session; the photo, and what to say."""
    photo = session.photos.get(found.image)
    if photo is None and files.photo is not None:
        if digest(files.photo) == found.image:
            size = (files.photo.shape[1], files.photo.shape[0])
            path = session.write("input.png", png_bytes(Image.fromarray(files.photo)))
            photo = Photo(path, found.image, size)
        else:
            notes.append("the photo in it is not the one that it was made from")
    session.take(photo)
    mask = files.mask if found.settings.mask == PAINTED else None
    if mask is not None and photo is not None and mask.shape == photo.size[::-1]:
        session.mask = session.found = mask
    for layer in files.strokes.values():
        strokes.keep(session, layer)
    said = "All settings of this result are restored."
    if photo is None:
        said += (
            " The photo itself is not in it: drop the original to edit it again "
            f"(its fingerprint begins with {found.image[:8]})."
        )
    return photo, " ".join([said, *(f"Note: {note}." for note in notes)])
