"""What the Noise space tab does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from noisespace.errors import InputError
from noisespace.metadata import png_bytes
from noisespace.web import asking, maps
from noisespace.web.editing import Editing
from noisespace.web.panel import panel, seconds
from noisespace.web.pieces import canvas
from noisespace.web.requests import InvertRequest, OperationRequest, Paint
from noisespace.web.session import Session
from noisespace.web.tabs.noise import NoiseTab


@dataclass(frozen=True)
class Noising:
    """The handlers of the tab; photo and inversion are those of the Edit tab."""

    editing: Editing
    tab: NoiseTab

    def inverted(self, session: Session, values: tuple[Any, ...]) -> Any:
        """The outcome of inverting the photo: it is known where an edit was made of it."""
        if session.photo is None:
            raise InputError("Give a photo first, in the tab Edit.")
        asked = asking.inversion(self.editing.tab.controls.read(values, target=False))
        image = asking.pixels_of(session.photo)
        return self.editing.wait(session, InvertRequest(**asked, image=image))

    def look(self, session: Session, *values: Any) -> list[Any]:
        """Maps of the code."""
        try:
            outcome = self.inverted(session, values)
            code = self.editing.engine.code(outcome.code, session.owner)
            variance, by_step = maps.variance(code)
            photo = session.photo
            assert photo is not None
            session.clicked = None
            return [
                panel(f"{len(by_step)} noise maps by {code.method}.", "done"),
                variance,
                maps.correlation(code),
                table(by_step),
                maps.strip(code),
                photo.path,
                canvas(photo),
            ]
        except Exception as error:
            rest = len(self.tab.looks) - 1
            return [panel(asking.sentence(error), "error"), *[gr.skip()] * rest]

    def click(self, session: Session, x: int, y: int) -> list[Any]:
        """A click on the photo: the first is where from, the second where to."""
        if session.clicked is None:
            session.clicked = x, y
            said = f"From {x}, {y}: now click where that point shall go."
            return [panel(said), gr.skip(), gr.skip()]
        (left, top), session.clicked = session.clicked, None
        dx, dy = x - left, y - top
        return [panel(f"By {dx} pixels to the right and {dy} down."), dx, dy]

    def shift(self, session: Session, dx: float, dy: float, *values: Any) -> list[Any]:
        """The photo from shifted noise."""
        return self.operate(session, shift_spec(dx, dy), values)

    def keep(self, operations: str, dx: float, dy: float) -> list[Any]:
        """Writes the shift into the operations of the Edit tab."""
        if not dx and not dy:
            return [gr.skip(), panel("a shift by nothing does nothing: give dx or dy", "error")]
        added = shift_spec(dx, dy)
        said = f"Edits are of the shifted photo from now on ({added}, in the tab Edit)."
        return [f"{operations or ''} {added}".strip(), panel(said, "done")]

    def colour(self, session: Session, given: Any, strength: float, *values: Any) -> list[Any]:
        """The photo from noise with colour in it."""
        try:
            layers = (given or {}).get("layers", [])
            if session.photo is None or not layers or not any(paint(x) for x in layers):
                raise InputError("Look at the noise first, then paint where the colour shall be.")
            layer = Image.new("RGBA", layers[0].size)
            for one in layers:
                layer = Image.alpha_composite(layer, one.convert("RGBA"))
            layer = layer.resize(session.photo.size, Image.Resampling.BOX)
            change: Any = Paint(strokes=layer, strength=strength)
        except Exception as error:
            return [panel(asking.sentence(error), "error"), gr.skip()]
        return self.operate(session, change, values)

    def operate(self, session: Session, change: Any, values: tuple[Any, ...]) -> list[Any]:
        """One operation on the inverted photo, and its replay beside the photo."""
        try:
            known = self.inverted(session, values)
            model = self.editing.tab.controls.read(values, target=False).model
            request = OperationRequest(model=model, code=known.code, operations=(change,))
            outcome = self.editing.wait(session, request)
            path = session.write("operated.png", png_bytes(outcome.reconstruction))
            assert session.photo is not None
            said = panel(f"Done in {seconds(outcome.edit_seconds)}.", "done")
            return [said, (session.photo.path, path)]
        except Exception as error:
            return [panel(asking.sentence(error), "error"), gr.skip()]


def shift_spec(dx: float, dy: float) -> str:
    return f"shift:dx={round(dx)},dy={round(dy)}"


def paint(layer: Image.Image) -> bool:
    """Whether anything is painted on a layer."""
    return layer.convert("RGBA").getchannel("A").getbbox() is not None


def table(by_step: Any) -> Any:
    """The variances as what the plot takes."""
    import pandas

    return pandas.DataFrame({"step": range(1, len(by_step) + 1), "variance": by_step.astype(float)})
