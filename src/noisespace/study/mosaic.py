"""Pictures side by side, with headings and a line under each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from noisespace.study.style import DPI, GREY, TEXT, figure


@dataclass(frozen=True)
class Tile:
    """A picture of a mosaic and the line under it; without a picture the text stands alone."""

    picture: np.ndarray | None
    note: str = ""


def mosaic(
    rows: Sequence[Sequence[Tile]],
    heads: Sequence[str],
    *,
    tile: float = 1.3,
    sizes: tuple[float, float] = (TEXT, TEXT),
    dpi: int = DPI,
) -> Figure:
    """Rows of pictures, ``tile`` inches wide, under headings; ``sizes`` of both texts, points."""
    noted = any(shown.note and shown.picture is not None for row in rows for shown in row)
    height = tile + (0.25 if noted else 0.08)
    made = figure(tile * len(heads), height * len(rows) + 0.4, dpi)
    made.get_layout_engine().set(w_pad=0.03, h_pad=0.03, hspace=0, wspace=0)  # type: ignore
    axes = made.subplots(len(rows), len(heads), squeeze=False)
    for i, row in enumerate(rows):
        for j, shown in enumerate(row):
            place(axes[i, j], shown, heads[j] if i == 0 else "", sizes)
    return made


def place(axes: Axes, tile: Tile, head: str, sizes: tuple[float, float]) -> None:
    """One tile of a mosaic."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_title(head, fontsize=sizes[0])
    if tile.picture is None:
        axes.text(0.5, 0.5, tile.note, fontsize=sizes[1], color=GREY, ha="center", va="center")
        return
    axes.set_xlabel(tile.note, fontsize=sizes[1], color=GREY, labelpad=2)
    axes.imshow(tile.picture, interpolation="nearest")
