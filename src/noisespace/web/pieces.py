"""Two of gradio's components that hand files on undecoded: decoding is ours, under our limits.

Their ``preprocess`` is replaced at the instance: a subclass would have to bring its own frontend.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

PAINT = "#e8590c"  # what the mask is painted with


def picture_path(payload: Any) -> str | None:
    """A dropped, pasted or chosen picture, as the path of the uploaded file."""
    return None if payload is None else payload.path


def layers_of(editor: gr.ImageEditor) -> Any:
    """What was painted on an editor, as the bytes of its layers."""

    def layers(payload: Any) -> list[bytes]:
        if payload is None:
            return []
        if payload.id is not None:
            kept = editor.blob_storage.pop(payload.id, None)
            return [data for data in kept.layers if data] if kept else []
        return [Path(layer.path).read_bytes() for layer in payload.layers or [] if layer]

    return layers


def upload(label: str, place: str) -> gr.Image:
    made = gr.Image(
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard"],
        label=label,
        elem_id=place,
        height=300,
        buttons=["fullscreen"],
    )
    made.preprocess = picture_path
    return made


def painter(label: str, place: str, colours: list[str] | None = None) -> gr.ImageEditor:
    """``colours``: what may be painted with; one for a mask, several where colour counts."""
    brush = gr.Brush(
        default_size=24, colors=list(colours or [PAINT]), color_mode="defaults" if colours else "fixed"
    )
    made = gr.ImageEditor(
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
    made.preprocess = layers_of(made)
    return made
