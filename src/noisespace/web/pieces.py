"""What pictures come in by, and what paint on them means."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from noisespace.errors import InputError
from noisespace.web.panel import panel
from noisespace.web.strict import ours


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


def covered(mask: np.ndarray | None) -> str:
    """What the page says of a mask."""
    if mask is None:
        return panel("Nothing is painted.")
    return panel(f"The mask covers {share(mask)} of the photo.")


def share(mask: np.ndarray) -> str:
    """How much of a picture is not zero, ``12.3 %``."""
    return f"{100 * float((mask > 0).mean()):.1f} %"


def painted(
    strokes: Image.Image, size: tuple[int, int], found: np.ndarray | None = None
) -> np.ndarray | None:
    """The mask that strokes (RGBA) make on a picture of a (width, height); None where it is empty.

    ``found``: the mask that was there; orange adds to it, blue takes away.
    """
    mask = np.zeros((size[1], size[0]), np.uint8) if found is None else found.copy()
    # thresholds are taken at the smaller of both sizes: a photo may have a hundred times the pixels
    few = strokes.resize(size, Image.Resampling.BOX) if size[0] < strokes.width else strokes
    red, _, blue, alpha = (np.asarray(band) for band in few.split())
    for where, value in ((red >= blue, 255), (red < blue, 0)):
        there = Image.fromarray(((alpha > 40) & where).astype(np.uint8))
        mask[np.asarray(there.resize(size, Image.Resampling.NEAREST)) > 0] = value
    return mask if mask.any() else None
