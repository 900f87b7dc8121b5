"""The two components through which pictures come in."""

from __future__ import annotations

from typing import Any

import gradio as gr

PAINT = "#e8590c"  # what the mask is painted with


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
        canvas_size=(512, 512),
        interactive=True,
        buttons=[],
    )
