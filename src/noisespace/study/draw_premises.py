"""Figures of the premises of negative-prompt inversion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from noisespace.bench.scenes import KINDS, SceneEdit
from noisespace.study.kept import Kept
from noisespace.study.measure import Row, mean, values, where
from noisespace.study.style import GREY, Tile, band, dress, figure, legend, mosaic

ALONG = {
    "adjacent": "to the next step",
    "level": "to another step, at random",
    "stranger": "to the same step of another scene",
    "guidance": 'from the source text to ""',
}


def draw_steps(rows: list[Row]) -> Figure:
    """Distances by step: along the pivot, and of the published loop's null at each guidance."""
    pivot = where(rows, what="pivot")
    weights = list(dict.fromkeys(values(rows, "w", what="null")))
    made = figure(4.3 * (1 + len(weights)), 4.3)
    panels = made.subplots(1, 1 + len(weights), sharey=True, squeeze=False)[0]
    steps = range(len(pivot[0]["adjacent"]))
    for j, (key, name) in enumerate(ALONG.items()):
        band(panels[0], steps, [r[key] for r in pivot], name, j, marker="")
    for axes, w in zip(panels[1:], weights, strict=True):
        found = where(rows, what="null", method="null-text, adam", w=w)
        band(axes, steps, [r["text"] for r in found], "null* to the source text", 0, marker="")
        band(axes, steps, [r["empty"] for r in found], 'null* to ""', 1, marker="")
        band(axes, steps, [r["guidance"] for r in pivot], 'source text to ""', 3, marker="")
        ideal = np.mean([r["adjacent"] for r in pivot], 0) / abs(w - 1)
        label = "next step's distance / |w - 1|"
        axes.plot(steps, ideal, color=GREY, linewidth=1.0, label=label)
        dress(axes, "step, noisy to clean", "", f"under null-text's null, guidance {w:g}")
    dress(panels[0], "step, noisy to clean", "|difference of eps| / |eps|", "along the DDIM pivot")
    for axes in panels:
        axes.set_yscale("log")
        legend(axes, loc="upper left")
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(low, high * 12)  # room for the names
    return made


def draw_edits(kept: Kept, every: Sequence[SceneEdit], rows: list[Row]) -> Figure:
    """A scene of each kind by null-text and by a negative prompt, beside the true edit."""
    ways = [
        (name, w, editor)
        for w in dict.fromkeys(values(rows, "w", what="edit"))
        for editor in ("none", "prompt-to-prompt")
        for name in ("null-text", "negative-prompt")
    ]
    table = []
    for i, one in list(enumerate(every))[: len(KINDS)]:
        tiles = [Tile(one.scene.render(), one.kind)]
        for name, w, editor in ways:
            found = mean(rows, "truth", what="edit", method=name, w=w, editor=editor, image=i)
            tiles.append(Tile(kept.picture(f"{name} {w:g} {editor} {i}"), f"{found:.1f} dB"))
        table.append([*tiles, Tile(one.truth.render())])
    heads = [head(*way) for way in ways]
    return mosaic(table, ["source", *heads, "true edit"], tile=1.2)


def head(name: str, w: float, editor: str) -> str:
    """A column's heading, short enough for its width."""
    short = name.replace("negative-", "negative-\n")
    return f"{short}\nw {w:g}{', P2P' if editor != 'none' else ''}"
