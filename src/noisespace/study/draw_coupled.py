"""Figures of coupled inversions."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from noisespace.study.kept import Kept
from noisespace.study.measure import Row, mean, values, where
from noisespace.study.style import BLUE, INK, ORANGE, Tile, below, curve, dress, figure, mosaic
from noisespace.study.subjects import SceneEdit


def draw_errors(rows: list[Row]) -> Figure:
    """The largest difference of latents by guidance, for each number of steps and both dtypes."""
    some = where(rows, part="replay")
    counts = sorted({r["steps"] for r in some})
    made = figure(max(5.6, 3.0 * len(counts)), 4.0)
    panels = made.subplots(1, len(counts), sharey=True, squeeze=False)[0]
    for axes, n in zip(panels, counts, strict=True):
        for name in dict.fromkeys(values(some, "method")):
            for dtype, line in (("float64", "-"), ("float32", "--")):
                own = where(some, steps=n, method=name, dtype=dtype)
                at = sorted({r["guidance"] for r in own if not r["failed"]})
                worst = [max(values(own, "max", guidance=w)) for w in at]
                curve(axes, at, worst, name, label=f"{name}, {dtype}", linestyle=line)
        axes.set_yscale("log")
        dress(axes, "guidance w", "", f"{n} steps")
    panels[0].set_ylabel("largest difference of latents", fontsize=10)
    below(made, panels[0], 3)
    return made


def draw_evaluations(rows: list[Row]) -> Figure:
    """Evaluations an edit, of its inversion and of the edit itself."""
    made = figure(6.4, 2.4)
    axes, some = made.subplots(), where(rows, part="edit")
    names = list(dict.fromkeys(values(some, "method")))
    for y, name in enumerate(reversed(names)):
        own, left = where(some, method=name), 0.0
        for key, colour, hatch in (("inverting", BLUE, ""), ("editing", ORANGE, "//")):
            wide = mean(own, key)
            label = key if y == 0 else None
            look = {"color": colour, "hatch": hatch, "edgecolor": INK, "height": 0.6}
            axes.barh(y, wide, left=left, label=label, **look)
            left += wide
        axes.text(left, y, f" {left:.0f}", va="center", fontsize=9)
    axes.set_yticks(range(len(names)), names[::-1])
    dress(axes, f"network evaluations an edit, {some[0]['steps']} steps", "")
    axes.grid(axis="y", visible=False)
    below(made, axes)
    return made


def draw_pictures(kept: Kept, edits: Sequence[SceneEdit], rows: list[Row]) -> Figure:
    """Up to four edits by each method."""
    names = list(dict.fromkeys(values(rows, "method", part="edit")))
    table = []
    for i, one in enumerate(edits[:4]):
        tiles = [Tile(one.scene.render(), one.kind)]
        for name in names:
            near = mean(rows, "truth", part="edit", method=name, image=i)
            tiles.append(Tile(kept.picture(f"{name} {i}"), f"{near:.1f} dB"))
        table.append([*tiles, Tile(one.truth.render())])
    return mosaic(table, ["source", *names, "true edit"], tile=1.35)
