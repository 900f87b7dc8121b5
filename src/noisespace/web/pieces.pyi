"""Two of gradio's components that hand files on undecoded: decoding is ours, under our limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

PAINT = "#e8590c"  # what the mask is painted with

from gradio.events import Dependency

class Upload(gr.Image):
    """A dropped, pasted or chosen picture, as the path of the uploaded file."""

    def preprocess(self, payload: Any) -> str | None:
        return None if payload is None else payload.path
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component


class Painter(gr.ImageEditor):
    """A picture to paint on, as the bytes of its layers of paint."""

    def preprocess(self, payload: Any) -> list[bytes]:
        if payload is None:
            return []
        if payload.id is not None:
            kept = self.blob_storage.pop(payload.id, None)
            return [data for data in kept.layers if data] if kept else []
        return [Path(layer.path).read_bytes() for layer in payload.layers or [] if layer]
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component


def upload(label: str, place: str) -> Upload:
    return Upload(
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard"],
        label=label,
        elem_id=place,
        height=300,
        buttons=["fullscreen"],
    )


def painter(label: str, place: str, colours: list[str] | None = None) -> Painter:
    """``colours``: what may be painted with; one for a mask, several where colour counts."""
    brush = gr.Brush(
        default_size=24, colors=list(colours or [PAINT]), color_mode="defaults" if colours else "fixed"
    )
    return Painter(
        type="pil",
        label=label,
        elem_id=place,
        sources=[],
        transforms=[],
        layers=False,
        brush=brush,
        eraser=gr.Eraser(default_size=24),
        canvas_size=(512, 512),
        interactive=True,
        buttons=[],
    )