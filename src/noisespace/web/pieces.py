"""The two components through which pictures come in."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from noisespace.web.session import Photo

PAINT = "#e8590c"  # what the mask is painted with
CANVAS = 512  # pixels of the longer side of what is painted on


def path_of(given: Any) -> str | None:
    """The path of an upload as gradio hands it on undecoded (``preprocess=False``).

    Decoding is ours, under the server's limits. The path lies in the folder of uploads: gradio
    refuses any other before it comes here.
    """
    return given.get("path") if isinstance(given, dict) else None


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


def painter(label: str, place: str, colours: list[str] | None = None) -> gr.ImageEditor:
    """``colours``: what may be painted with; one for a mask, several where colour counts."""
    brush = gr.Brush(
        default_size=24,
        colors=list(colours or [PAINT]),
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
    )


def canvas(photo: Photo, mask: np.ndarray | None = None) -> dict[str, Any]:
    """A photo to paint on, enlarged where it is small, with a mask as paint on it."""
    picture = Image.open(photo.path).convert("RGB")
    by = CANVAS / max(picture.size)
    size = (max(1, round(picture.width * by)), max(1, round(picture.height * by)))
    kind = Image.Resampling.NEAREST if by > 2 else Image.Resampling.LANCZOS
    layers = []
    if mask is not None:
        paint = Image.new("RGBA", size, PAINT)
        alpha = Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)
        paint.putalpha(alpha.point(lambda v: 170 if v else 0))
        layers = [paint]
    return {"background": picture.resize(size, kind), "layers": layers, "composite": None}
