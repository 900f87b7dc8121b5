"""Boards to paint on: a picture below a canvas, whose strokes the page sends as they are made.

Ours (painter.js) and not gradio's editor of images. That one drops a stroke that comes while
another one is on its way, takes no picture while it is shown, and needs seconds a stroke where no
graphics card draws.
"""

from __future__ import annotations

import base64
import html
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import gradio as gr
import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from noisespace.errors import InputError
from noisespace.web.paints import BYTES, layer
from noisespace.web.session import Photo, Session

PAINT, KEEP = "#e8590c", "#1864ab"  # what a mask is painted with, and taken away
CANVAS = 512  # pixels of the longer side of what is painted on
GATE = threading.BoundedSemaphore(2)  # so many photos and strokes are decoded at once
EMPTY = "The photo comes here, to be painted on."


@dataclass(frozen=True)
class Board:
    """Its components: the picture with the canvas, and the hidden text that the strokes come in.

    ``inks``: (colour, what it is) to choose from; ``free``: whether any other colour may be taken.
    """

    shown: gr.HTML
    strokes: gr.Textbox
    label: str
    inks: Sequence[tuple[str, str]]
    free: bool = False

    def draw(self, session: Session, photo: Photo | None, mask: np.ndarray | None = None) -> str:
        """A photo to paint on, tinted where a mask is already; strokes of before are refused.

        What is painted is added to the mask or taken from it, by its colour.
        """
        if photo is None:
            return f'<p class="board-empty">{EMPTY}</p>'
        with GATE:
            below = picture(photo, mask)
        number = session.refuse_strokes(self.place)
        tools = "".join(ink(*one, pressed=k == 0) for k, one in enumerate(self.inks))
        return BOARD.format(
            place=self.place, number=number, label=html.escape(self.label), inks=tools,
            free=FREE if self.free else "", width=below.width, height=below.height,
            source=uri(below),
        )  # fmt: skip

    def read(self, session: Session, sent: object) -> Image.Image | None:
        """The strokes that a browser sent, RGBA; None where they are of a board before this one.

        Raises InputError for what is none, and where there is no photo.
        """
        if session.photo is None:
            raise InputError("there is no photo (any more) to paint on: give it again")
        try:
            strokes = Strokes.model_validate_json(str(sent))
            data = base64.b64decode(strokes.png, validate=True)
        except (ValidationError, ValueError):
            raise InputError("this is not what the page's boards send: paint once more") from None
        if strokes.board != session.boards.get(self.place):
            return None
        with GATE:
            return layer(data, size_of(session.photo))

    @property
    def place(self) -> str:
        return str(self.shown.elem_id)


class Strokes(BaseModel):
    """What painter.js sends: the number of the board, and its canvas as PNG in base64."""

    model_config = ConfigDict(extra="forbid", strict=True)
    board: int
    png: str = Field(max_length=BYTES * 4 // 3 + 4)


def draw_board(
    place: str, label: str, inks: Sequence[tuple[str, str]], *, free: bool = False
) -> Board:
    """Draws a board without a photo. ``place``: its id on the page."""
    shown = gr.HTML(f'<p class="board-empty">{EMPTY}</p>', elem_id=place)
    strokes = gr.Textbox(
        visible="hidden", elem_id=f"{place}-strokes", show_label=False, container=False
    )
    return Board(shown, strokes, label, inks, free)


BOARD = """
<div class="board" role="group" aria-label="{label}" data-into="{place}-strokes"
 data-number="{number}"><p class="board-label">{label}</p>
<div class="board-tools" role="group" aria-label="what to paint with">{inks}{free}
<button type="button" data-does="ink" data-ink="" aria-pressed="false">Erase</button>
<label>size <input type="range" class="board-size" min="4" max="96" value="24"></label>
<button type="button" data-does="undo" disabled>Undo</button>
<button type="button" data-does="clear" disabled>Clear</button></div>
<div class="board-canvas" style="aspect-ratio: {width} / {height}; max-width: {width}px">
<img src="{source}" alt="" draggable="false"><canvas width="{width}" height="{height}"
 role="img" aria-label="{label}: paint here by mouse, pen or finger"></canvas></div></div>
"""
FREE = (
    '<input type="color" data-does="ink" data-ink="free" value="#9467bd"'
    ' aria-label="another colour">'
)


def ink(colour: str, name: str, *, pressed: bool) -> str:
    """A button that chooses a colour."""
    return (
        f'<button type="button" data-does="ink" data-ink="{colour}" title="{name}" '
        f'aria-pressed="{str(pressed).lower()}"><span style="background: {colour}"></span>'
        f"{name}</button>"
    )


def size_of(photo: Photo) -> tuple[int, int]:
    """The width and height of a photo's canvas."""
    width, height = photo.size
    by = CANVAS / max(width, height)
    return max(1, round(width * by)), max(1, round(height * by))


def picture(photo: Photo, mask: np.ndarray | None) -> Image.Image:
    """What lies below the canvas: the photo, enlarged where it is small, and the mask's tint."""
    size = size_of(photo)
    kind = Image.Resampling.NEAREST if size[0] > 2 * photo.size[0] else Image.Resampling.LANCZOS
    below = Image.open(photo.path).convert("RGB").resize(size, kind)
    if mask is not None:
        inside = Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)
        tint = Image.blend(below, Image.new("RGB", size, PAINT), 0.6)
        below = Image.composite(tint, below, inside)
    return below


def uri(below: Image.Image) -> str:
    """A picture inside the page itself: no file of it is left anywhere."""
    buffer = BytesIO()
    below.save(buffer, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
