"""How figures look: Okabe and Ito's colours, told apart in print by markers and lines as well."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from noisespace.study.measure import summary

TEXT, HEAD = 9, 10  # points: of ticks and notes, of labels and headings
DPI = 150
INK, GREY = "#000000", "#6b6b6b"
BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
ORANGE, PURPLE, SKY = "#E69F00", "#CC79A7", "#56B4E9"


@dataclass(frozen=True)
class Mark:
    """How a curve looks: colour, marker and line, each of which tells it apart.

    ``fill``: of the marker, matplotlib's word.
    """

    colour: str
    marker: str
    line: Any = "-"
    fill: str = "full"


SHORT, DOTTED = (0, (3, 1, 1, 1)), (0, (1, 1))
# a method looks the same in every figure
MARKS = {
    "edit-friendly": Mark(BLUE, "o", "-"),
    "native": Mark(VERMILLION, "s", "--"),
    "cycle-diffusion": Mark(GREEN, "^", "-."),
    "cycle-diffusion, eta 1": Mark(ORANGE, "<", SHORT),
    "ddim": Mark(INK, "D", ":"),
    "ddim, stopped": Mark(PURPLE, "v", SHORT),
    "sdedit": Mark(VERMILLION, "X", "--"),
    "negative-prompt": Mark(SKY, "P", "-"),
    "prox-npi": Mark(SKY, "1", ":"),
    "direct": Mark(GREY, ">", "--"),
    "fixed-point": Mark(GREY, "d", "-"),
    "null-text": Mark(ORANGE, "*", "-"),
    "prompt-tuning": Mark(PURPLE, "p", "--"),
    "edict": Mark(GREEN, "+", ":"),
    "belm": Mark(BLUE, "x", "--"),
}
OTHERS = tuple(
    Mark(colour, marker, line)
    for colour, marker, line in zip(
        (BLUE, VERMILLION, GREEN, INK, PURPLE, ORANGE, SKY, GREY),
        ("o", "s", "^", "D", "v", "*", "P", "X"),
        ("-", "--", "-.", ":", SHORT, "-", "--", ":"),
        strict=True,
    )
)


# of a method inside an editor: its own colour and marker, the editor's line and fill
EDITORS = {
    "prompt-to-prompt": ("none", "--"),
    "plug-and-play": ("left", ":"),
    "masactrl": ("bottom", "-."),
}


def mark(name: str, place: int = 0) -> Mark:
    """A method's look, alone or as "METHOD + EDITOR"; of anything else by its place in a figure."""
    method, _, editor = name.partition(" + ")
    if method in MARKS and editor in EDITORS:
        fill, line = EDITORS[editor]
        return replace(MARKS[method], fill=fill, line=line)
    return MARKS.get(name, OTHERS[place % len(OTHERS)])


def figure(width: float = 6.4, height: float = 3.8, dpi: int = DPI) -> Figure:
    """An empty figure of that many inches, drawn without a window."""
    made = Figure(figsize=(width, height), dpi=dpi, layout="constrained", facecolor="white")
    FigureCanvasAgg(made)
    return made


def dress(axes: Axes, x: str, y: str, title: str = "") -> None:
    """Labels with their units, a light grid, no frame where there is no axis."""
    axes.set_xlabel(x, fontsize=HEAD)
    axes.set_ylabel(y, fontsize=HEAD)
    axes.set_title(title, fontsize=HEAD)
    axes.tick_params(which="both", labelsize=TEXT)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def legend(axes: Axes, **options: Any) -> None:
    """The curves' names, readable over the grid."""
    axes.legend(**{"fontsize": TEXT, "framealpha": 0.9, "edgecolor": "none", **options})


def below(made: Figure, axes: Axes, columns: int = 3) -> None:
    """The names of a panel's curves under the whole figure, where no curve runs."""
    handles, names = axes.get_legend_handles_labels()
    options = {"fontsize": TEXT, "frameon": False, "ncols": columns}
    made.legend(handles, names, loc="outside lower center", **options)


def strip(axes: Axes, groups: Mapping[str, Sequence[float]], least: float = -math.inf) -> None:
    """Every value of each group as a dot on the group's line, their mean with its interval.

    ``least``: what no value can be below; intervals are drawn to there.
    """
    for place, (name, found) in enumerate(groups.items()):
        look, y = mark(name, place), len(groups) - 1 - place
        apart = np.linspace(-0.22, 0.22, len(found)) if len(found) > 1 else np.zeros(len(found))
        dots = {"color": look.colour, "alpha": 0.45, "markersize": 4}
        axes.plot(found, y + apart, look.marker, **dots)
        middle = summary(found)
        bars = {"capsize": 4, "markersize": 8, "markeredgecolor": "white", "zorder": 4}
        mean, ends = (
            middle["mean"],
            np.nan_to_num([middle["low"], middle["high"]], nan=middle["mean"]),
        )
        wide = [[mean - max(ends[0], least)], [ends[1] - mean]]
        axes.errorbar(mean, y, xerr=wide, fmt=look.marker, color=look.colour, ecolor=INK, **bars)
    axes.set_yticks(range(len(groups)), list(groups)[::-1])
    axes.set_ylim(-0.6, len(groups) - 0.4)


def curve(axes: Axes, x: Any, y: Any, name: str, place: int = 0, **options: Any) -> None:
    """A curve in a method's look, or by its place in the figure."""
    look = mark(name, place)
    marks = {"marker": look.marker, "markersize": 5, "linewidth": 1.5, "fillstyle": look.fill}
    marks |= {"markerfacecoloralt": "white"} if look.fill not in ("full", "none") else {}
    axes.plot(
        x, y, **{"color": look.colour, "linestyle": look.line, "label": name, **marks, **options}
    )


def band(axes: Axes, x: Any, values: Any, name: str, place: int = 0, **options: Any) -> None:
    """The mean of (images, points) as a curve, and the middle half of the images around it."""
    values = np.asarray(values, float)
    curve(axes, x, values.mean(0), name, place, **options)
    low, high = np.quantile(values, (0.25, 0.75), axis=0)
    axes.fill_between(x, low, high, color=mark(name, place).colour, alpha=0.15, linewidth=0)


def heat_map(axes: Axes, values: Any, ends: tuple[Sequence, Sequence], form: str) -> None:
    """A table of numbers in shades that stay ordered in grey, each written in its cell.

    ``ends``: the names of the rows and of the columns.
    """
    table = np.asarray(values, float)
    axes.imshow(table, cmap="cividis", aspect="auto")
    low, high = np.nanmin(table), np.nanmax(table)
    for (i, j), value in np.ndenumerate(table):
        dark = value < (low + high) / 2
        text = "-" if np.isnan(value) else format(value, form)
        axes.text(
            j, i, text, ha="center", va="center", fontsize=TEXT, color="white" if dark else INK
        )
    axes.set_yticks(range(len(ends[0])), [f"{v:g}" for v in ends[0]])
    axes.set_xticks(range(len(ends[1])), [f"{v:g}" for v in ends[1]])


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


def rendered(made: Figure, kind: str) -> bytes:
    """A figure as the bytes of a "png" or "svg" file, the same for the same figure."""
    file = io.BytesIO()
    salt: dict[Any, Any] = {"svg.hashsalt": "noisespace"}
    stamp = {"Date": None} if kind == "svg" else {"Software": None}
    with rc_context(salt):
        made.savefig(file, format=kind, dpi=made.dpi, metadata=stamp)
    return file.getvalue()
