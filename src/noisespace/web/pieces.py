"""The two components through which pictures come in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from noisespace.errors import InputError
from noisespace.web.handlers import safe
from noisespace.web.paints import Paints, layer
from noisespace.web.panel import panel
from noisespace.web.session import Photo, Session
from noisespace.web.strict import ours

PAINT, KEEP = "#e8590c", "#1864ab"  # what the mask is painted with, and taken away
TURN, PAUSE, READY = (  # of the page's script
    f"() => window.noisespaceEditor.{name}()" for name in ("turn", "pause", "ready")
)
CANVAS = 512  # pixels of the longer side of what is painted on


def path_of(given: Any) -> str | None:
    """The path of an upload as gradio hands it on undecoded (``preprocess=False``).

    Decoding is ours, under the server's limits. Raises InputError for a file that was not uploaded.
    """
    path = given.get("path") if isinstance(given, dict) else None
    if path is not None and not ours(str(path)):
        raise InputError("a file is uploaded here, never named by a path of the server")
    return path


def upload(label: str, place: str) -> gr.Image:
    return gr.Image(
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard"],
        label=label,
        elem_id=place,
        height=300,
        buttons=["fullscreen"],
    )


def painter(
    label: str, place: str, colours: list[str] | None = None, visible: bool = True
) -> gr.ImageEditor:
    """``colours``: what may be painted with; one for a mask, several where colour counts.

    ``visible``: gradio's editor fails in the browser where it is taken off while it begins; so one
    that a photo puts away comes onto the page with the first photo.
    """
    brush = gr.Brush(
        default_size=24,
        colors=list(colours or [PAINT, KEEP]),
        color_mode="defaults" if colours else "fixed",
    )
    return gr.ImageEditor(
        type="pil",
        label=label,
        elem_id=place,
        sources=[],
        transforms=[],
        layers=False,
        brush=brush,
        eraser=gr.Eraser(default_size=24),
        canvas_size=(CANVAS, CANVAS),
        interactive=True,
        buttons=[],
        visible=visible,
    )


def canvas(photo: Photo, mask: np.ndarray | None = None) -> dict[str, Any]:
    """A photo to paint on, enlarged where it is small, tinted where a mask is already.

    The tint is in the background: gradio's editor does not let one paint on a layer that it was
    given. What is painted is added to the mask or taken from it, by its colour.
    """
    picture = Image.open(photo.path).convert("RGB")
    by = CANVAS / max(picture.size)
    size = (max(1, round(picture.width * by)), max(1, round(picture.height * by)))
    kind = Image.Resampling.NEAREST if by > 2 else Image.Resampling.LANCZOS
    below = picture.resize(size, kind)
    if mask is not None:
        inside = Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)
        tint = Image.blend(below, Image.new("RGB", size, PAINT), 0.6)
        below = Image.composite(tint, below, inside)
    return {"background": below, "layers": [], "composite": None}


def again(event: Any, editor: gr.ImageEditor, told: gr.HTML, session: gr.State) -> None:
    """After an event that may ask for it (`Session.redraw`), an editor is drawn anew.

    What it covers is told. Given a picture while it is shown, gradio's editor has no texture to
    paint on, so it is taken off the page and put there again. Taken off while it begins, it fails;
    so one event's turn ends when the editor is there, and the next one's waits for that
    (``noisespaceEditor`` of page.js).
    """

    def put_away(own: Session | None) -> Any:
        if own is None or not own.redraw:
            return gr.skip()
        own.away = True
        return gr.update(visible=False)

    def draw(own: Session | None) -> list[Any]:
        if own is None or not own.away:
            return [gr.skip(), gr.skip()]
        own.away = own.redraw = False
        own.found = own.mask  # what is painted after this comes on top of it
        if own.photo is None:  # nothing to paint on
            return [gr.skip(), covered(own.mask)]
        value = canvas(own.photo, own.mask)
        return [gr.update(value=value, visible=True), covered(own.mask)]

    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    away = event.then(None, js=TURN).then(put_away, session, editor, **quiet)
    anew = safe(draw, [editor, told], told)
    drawn = away.then(None, js=PAUSE).then(anew, session, [editor, told], **quiet)
    drawn.then(None, js=READY)


def layers_of(given: Any, editor: gr.ImageEditor, paints: Paints) -> list[Image.Image]:
    """The layers of an event of an editor (``preprocess=False``), lowest first.

    They were sent before it and lie under its id; or, where the browser was in a hurry, they were
    uploaded. Raises InputError for what is no paint.
    """
    if not isinstance(given, dict):
        return []
    if given.get("id"):
        return paints.take(editor._id, given["id"])
    paths = [path_of(one) for one in given.get("layers") or []]
    return [layer(Path(path).read_bytes()) for path in paths if path]


def merged(layers: list[Image.Image], size: tuple[int, int]) -> Image.Image | None:
    """Layers as one of a (width, height); None where nothing is painted."""
    if not any(one.getchannel("A").getbbox() for one in layers):
        return None
    whole = Image.new("RGBA", layers[0].size)
    for one in layers:
        whole = Image.alpha_composite(whole, one.resize(whole.size))
    return whole.resize(size, Image.Resampling.BOX)


def covered(mask: np.ndarray | None) -> str:
    """What the page says of a mask."""
    if mask is None:
        return panel("Nothing is painted.")
    return panel(f"The mask covers {share(mask)} of the photo.")


def share(mask: np.ndarray) -> str:
    """How much of a picture is not zero, ``12.3 %``."""
    return f"{100 * float((mask > 0).mean()):.1f} %"


def painted(
    layers: list[Image.Image], size: tuple[int, int], found: np.ndarray | None = None
) -> np.ndarray | None:
    """The mask that paint makes on a picture of a (width, height); None where it is empty.

    ``found``: the mask that was there; orange adds to it, blue takes away.
    """
    mask = np.zeros((size[1], size[0]), np.uint8) if found is None else found.copy()
    for one in layers:
        red, _, blue, alpha = (
            np.asarray(band)
            for band in one.convert("RGBA").resize(size, Image.Resampling.BOX).split()
        )
        mask[(alpha > 40) & (red >= blue)] = 255
        mask[(alpha > 40) & (red < blue)] = 0
    return mask if mask.any() else None
