"""Between page and engine: settings become requests, and the outcome of a job is filed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import ValidationError

from noisespace.errors import InputError, RunError, reason
from noisespace.pictures.metadata import png_bytes
from noisespace.planning.result import digest
from noisespace.web.carrying import files_of
from noisespace.web.limits import Limits
from noisespace.web.panel import seconds
from noisespace.web.records import PAINTED, Settings
from noisespace.web.requests import EditRequest, picture_of
from noisespace.web.session import Entry, Photo, Session
from noisespace.web.sharing import archive, command, python
from noisespace.web.strokes import with_strokes

LOADING = "The page is still being loaded: try again in a moment."


def sentence(error: BaseException) -> str:
    """What went wrong, for the page: one sentence, whatever was raised."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        named = (part for part in first["loc"] if isinstance(part, str) and "[" not in part)
        where = ".".join(named)
        text = first["msg"].removeprefix("Value error, ")
        return f"{where}: {text}" if where and where not in text else text
    if isinstance(error, (InputError, RunError)):
        return reason(error)
    if isinstance(error, OSError):  # whose words have paths of the server
        return f"A file of the server cannot be used ({error.strerror}): load the page anew."
    return f"Something went wrong that should not have: {reason(error)}"


def photo_of(session: Session, data: bytes, limits: Limits, name: str = "the photo") -> Photo:
    """An uploaded picture, decoded under the server's limits and kept for this session."""
    pixels = picture_of(data, limits, name)
    known = session.photos.get(digest(pixels))
    if known is not None:
        return known
    path = session.write("input.png", png_bytes(Image.fromarray(pixels)))
    return Photo(path, digest(pixels), (pixels.shape[1], pixels.shape[0]))


def photo_now(session: Session | None) -> Photo:
    """The photo on the table. Raises InputError where there is none."""
    if session is None:
        raise InputError(LOADING)
    if session.photo is None:
        raise InputError("Give a photo first: drop one, paste one or take an example (tab Edit).")
    return session.photo


def still(session: Session, photo: Photo) -> None:
    """Raises InputError where another photo came onto the table during a job on this one."""
    if session.photo is None or session.photo.image != photo.image:
        raise InputError("Another photo is on the table by now: ask once more.")


def pixels_of(photo: Photo) -> np.ndarray:
    return np.array(Image.open(photo.path))


def edit_request(session: Session, settings: Settings, limits: Limits) -> EditRequest:
    """The request of an edit. Raises InputError or ValidationError for what cannot be asked."""
    return EditRequest(
        **inversion(settings),
        **changed(session, settings, limits),
        targets=(settings.target,),
        editor=settings.editor or None,
        guidance=settings.guidance,
    )


def changed(session: Session, settings: Settings, limits: Limits) -> dict[str, Any]:
    """The photo of a request, where it may change and what is done to its noise first."""
    photo = photo_now(session)
    if settings.mask == PAINTED and session.mask is None:
        raise InputError("paint where the edit may act, or choose the whole picture")
    return {
        "image": pixels_of(photo),
        "mask": session.mask if settings.mask == PAINTED else settings.mask or None,
        "operations": with_strokes(session, settings.operations, limits),
    }


def inversion(settings: Settings) -> dict[str, Any]:
    """The fields that every request shares."""
    names = ("model", "source", "method", "steps", "source_guidance", "seed", "variants", "size")
    return {name: getattr(settings, name) for name in names}


def file_edit(
    session: Session,
    settings: Settings,
    used: tuple[Photo, np.ndarray | None, str],
    outcome: Any,
) -> Entry:
    """Writes the pictures of an edit, each with its record, and remembers it.

    ``used``: the photo, the painted mask, and the model as the command line takes it.
    """
    photo, mask, model = used
    pictures = [
        session.write(f"edit-{k + 1}.png", outcome.png(k)) for k in range(len(outcome.images))
    ]
    loaded = outcome.records[0]["model"]  # as the page's model was
    kept = {"dtype": "mixed" if "mixed" in loaded else loaded["dtype"]}
    kept["source"] = outcome.source or settings.source
    own = settings.model_copy(update=kept)
    drawn = outcome.mask if mask is None or settings.mask != PAINTED else Image.fromarray(mask)
    entry = Entry(
        settings=own,
        photo=photo,
        pictures=tuple(pictures),
        reconstruction=_kept(session, "reconstruction.png", outcome.reconstruction),
        mask=_kept(session, "mask.png", drawn),
        records=outcome.records,
        code=outcome.code or "",
        said=told(outcome),
        model=model,
    )
    session.add(entry)
    return entry


def _kept(session: Session, name: str, picture: Image.Image | None) -> str:
    return "" if picture is None else session.write(name, png_bytes(picture))


def told(outcome: Any) -> str:
    """``Inverted in 8.2 s, edited in 1.9 s`` or that the inversion was there already."""
    edited = seconds(outcome.edit_seconds)
    if outcome.inverted:
        text = f"Inverted in {seconds(outcome.inversion_seconds)}, edited in {edited}."
    else:
        text = f"Re-edited in {edited}: the inversion was there already."
    return " ".join([text, *(f"Note: {note}." for note in outcome.notes)])


def bundle(entry: Entry, code: Any, strokes: Mapping[str, str]) -> bytes:
    """A zip of all that an edit is: pictures, records, code, mask, input and how to make it.

    ``strokes``: the paths of painted colour by name.
    """
    files = [*files_of(entry, strokes).items()]
    files += [(Path(path).name, Path(path).read_bytes()) for path in entry.pictures]
    files.append(("records.json", json_bytes(list(entry.records))))
    if entry.mask and PAINTED not in dict(files):
        files.append((PAINTED, Path(entry.mask).read_bytes()))
    if code is not None:
        files.append(("code.safetensors", code.to_bytes()))
    files.append(("edit.sh", f"{command(entry.settings, model=entry.model)}\n".encode()))
    files.append(("edit.py", python(entry.settings, model=entry.model).encode()))
    return archive(files)


def picture_bytes(picture: Image.Image, record: Any) -> bytes:
    """A picture as PNG with its record."""
    return png_bytes(picture, record)


def record_bytes(entry: Entry) -> bytes:
    """The record of the chosen picture."""
    return json_bytes(entry.records[entry.chosen])


def json_bytes(value: Any) -> bytes:
    return f"{json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)}\n".encode()
