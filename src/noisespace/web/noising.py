"""What the Noise space tab does."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from noisespace.errors import InputError
from noisespace.pictures.metadata import png_bytes
from noisespace.web import asking, maps, strokes
from noisespace.web.editing import Editing
from noisespace.web.following import follow, telling
from noisespace.web.panel import panel, seconds
from noisespace.web.pieces import share
from noisespace.web.requests import InvertRequest, OperationRequest, Paint
from noisespace.web.session import Photo, Session
from noisespace.web.tabs.noise import START, NoiseTab


@dataclass(frozen=True)
class Noising:
    """The handlers of the tab; photo and inversion are those of the Edit tab."""

    editing: Editing
    tab: NoiseTab

    def inverted(
        self, session: Session, photo: Photo, values: tuple[Any, ...], rest: list[Any]
    ) -> Generator[list[Any], None, Any]:
        """The outcome of inverting a photo: it is known where an edit was made of it.

        Raises InputError where another photo is on the table when it is done.
        """
        asked = asking.inversion(self.editing.tab.controls.read(values, target=False))
        request = InvertRequest(**asked, image=asking.pixels_of(photo))
        job = follow(self.editing.engine, session, request)
        outcome = yield from telling(job, rest)
        asking.still(session, photo)
        return outcome

    def look(self, session: Session, *values: Any) -> Iterator[list[Any]]:
        """Maps of the code; yields the panel and all that is below it."""
        rest = [gr.skip()] * (len(self.tab.looks) - 1)
        try:
            photo = asking.photo_now(session)
            outcome = yield from self.inverted(session, photo, values, rest)
            code = self.editing.engine.code(outcome.code, session.owner)
            variance, by_step = maps.variance(code)
            session.clicked = session.colour = None  # the board is drawn anew
            session.refuse_strokes(self.tab.canvas.place)
            session.looked = photo.image
            yield [
                panel(f"{len(by_step)} noise maps by {code.method}.", "done"),
                variance,
                maps.correlation(code),
                table(by_step),
                maps.strip(code),
                photo.path,
                self.tab.canvas.draw(session, photo),
            ]
        except Exception as error:
            yield [panel(asking.sentence(error), "error"), *rest]

    def clear(self, session: Session | None) -> list[Any]:
        """Takes away what was shown of another photo than the one on the table."""
        shown = [*self.tab.looks, self.tab.slider]
        now = "" if session is None or session.photo is None else session.photo.image
        if session is None or session.looked in ("", now):
            return [gr.skip()] * len(shown)
        session.looked, session.clicked = "", None
        values = dict.fromkeys(shown) | {self.tab.panel: panel(START)}
        values[self.tab.canvas.shown] = self.tab.canvas.draw(session, None)
        values[self.tab.steps] = table([])  # taken away while it is drawn, gradio's plot fails
        return list(values.values())

    def click(self, session: Session, x: int, y: int) -> list[Any]:
        """A click on the photo: the first is where from, the second where to."""
        if session.clicked is None:
            session.clicked = x, y
            said = f"From {x}, {y}: now click where that point shall go."
            return [panel(said), gr.skip(), gr.skip()]
        (left, top), session.clicked = session.clicked, None
        dx, dy = x - left, y - top
        return [panel(f"By {dx} pixels to the right and {dy} down."), dx, dy]

    def shift(self, session: Session, dx: float, dy: float, *values: Any) -> Iterator[list[Any]]:
        """The photo from shifted noise."""
        yield from self.operate(session, shift_spec(dx, dy), values)

    def keep(self, operations: str, dx: float, dy: float) -> list[Any]:
        """Writes the shift into the operations of the Edit tab."""
        if not dx and not dy:
            return [gr.skip(), panel("a shift by nothing does nothing: give dx or dy", "error")]
        return added(operations, shift_spec(dx, dy), "shifted")

    def painted(self, session: Session, sent: Any) -> list[Any]:
        """Strokes of colour were made. Gives the panel, and the board as `Masking.painted` does."""
        board = self.tab.canvas
        strokes = board.read(session, sent)
        if strokes is None:
            session.colour = None
            return [panel("Nothing is painted."), board.draw(session, session.photo)]
        there = strokes.getchannel("A")
        session.colour = strokes if there.getbbox() else None
        if session.colour is None:
            return [panel("Nothing is painted."), gr.skip()]
        said = f"Colour covers {share(np.asarray(there))} of the photo"
        return [panel(f"{said}: show it, or use it in edits."), gr.skip()]

    def colour(self, session: Session, strength: float, *values: Any) -> Iterator[list[Any]]:
        """The photo from noise with colour in it."""
        try:
            change: Any = Paint(strokes=colour_now(session), strength=strength)
        except Exception as error:
            yield [panel(asking.sentence(error), "error"), gr.skip()]
            return
        yield from self.operate(session, change, values)

    def keep_colour(self, session: Session, operations: str, strength: float) -> list[Any]:
        """Writes the colour into the operations of the Edit tab; the strokes become a file."""
        try:
            name = strokes.keep(session, colour_now(session))
        except InputError as error:
            return [gr.skip(), panel(str(error), "error")]
        return added(operations, strokes.spec_of_paint(name, strength), "coloured")

    def operate(
        self, session: Session, change: Any, values: tuple[Any, ...]
    ) -> Iterator[list[Any]]:
        """One operation on the inverted photo, and its replay beside the photo."""
        rest = [gr.skip()]
        try:
            photo = asking.photo_now(session)
            known = yield from self.inverted(session, photo, values, rest)
            model = self.editing.tab.controls.read(values, target=False).model
            request = OperationRequest(model=model, code=known.code, operations=(change,))
            job = follow(self.editing.engine, session, request)
            outcome = yield from telling(job, rest)
            asking.still(session, photo)
            session.drop("operated")
            made = png_bytes(outcome.reconstruction)
            path = session.write("operated.png", made, of="operated")
            said = panel(f"Done in {seconds(outcome.edit_seconds)}.", "done")
            yield [said, (photo.path, path)]
        except Exception as error:
            yield [panel(asking.sentence(error), "error"), gr.skip()]


def shift_spec(dx: float, dy: float) -> str:
    return f"shift:dx={round(dx or 0)},dy={round(dy or 0)}"  # an empty box is None


def added(operations: str, one: str, what: str) -> list[Any]:
    """The operations with one more, and what to say."""
    said = f"Edits are of the {what} photo from now on ({one}, in the tab Edit)."
    return [f"{operations or ''} {one}".strip(), panel(said, "done")]


def colour_now(session: Session) -> Image.Image:
    """The colour that is painted, of the photo's size. Raises InputError where there is none."""
    if session.colour is None or session.photo is None:
        raise InputError("Look at the noise first, then paint where the colour shall be.")
    return session.colour.resize(session.photo.size, Image.Resampling.BOX)


def table(by_step: Any) -> Any:
    """The variances as what the plot takes."""
    import pandas

    values = [float(value) for value in by_step]
    return pandas.DataFrame({"step": range(1, len(values) + 1), "variance": values})
