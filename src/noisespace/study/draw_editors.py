"""Figures of codes inside editors."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from noisespace.study.curves import points
from noisespace.study.kept import Kept
from noisespace.study.measure import Row, mean, values, where
from noisespace.study.style import INK, Tile, below, curve, dress, figure, mark, mosaic
from noisespace.study.subjects import SceneEdit

LABELS = {
    "outside": "structure: PSNR outside the edit, dB",
    "lpips": "structure: LPIPS (AlexNet) to the input",
    "asked": "target: edits as asked, %",
    "truth": "PSNR to the true edit, dB",
}


def draw(rows: list[Row], editor: str) -> Figure:
    """Curves by guidance of every code in one editor: as asked, and to the truth."""
    some = where(rows, editor=editor)
    pairs = [("outside", "asked"), ("outside", "truth")]
    pairs += [("lpips", "asked")] if values(some, "lpips") else []
    made = figure(4.0 * len(pairs), 4.0)
    panels = made.subplots(1, len(pairs))
    for axes, (x, y) in zip(panels, pairs, strict=True):
        unit = 100.0 if y == "asked" else 1.0
        for place, name in enumerate(dict.fromkeys(values(some, "code"))):
            settings, xs, ys = points(where(some, code=name), x, y)
            ys = [unit * v for v in ys]
            curve(axes, xs, ys, name, place)
            for k in {0, len(settings) - 1}:  # all of them would cover each other
                at, above = (xs[k], ys[k]), 4 if place % 2 else -11
                says = {
                    "textcoords": "offset points",
                    "fontsize": 9,
                    "color": mark(name, place).colour,
                }
                axes.annotate(f"{settings[k]:g}", at, (4, above), **says)
        at = mean(rows, x, does="autoencoder"), unit * mean(rows, y, does="autoencoder")
        style = {"color": INK, "markersize": 9, "linestyle": ""}
        axes.plot(*at, "+", label="autoencoder, no edit", **style)
        if x == "lpips":
            axes.invert_xaxis()
        dress(axes, LABELS[x], LABELS[y])
    count = len({r["image"] for r in some})
    panels[0].set_title(f"{editor}, {count} scenes, by guidance", fontsize=10, loc="left")
    below(made, panels[0], 4)
    return made


def draw_pictures(kept: Kept, edits: Sequence[SceneEdit], rows: list[Row]) -> Figure:
    """Edits by every code in Prompt-to-Prompt, at the guidance nearest to the true edits."""
    some, table = where(rows, editor="prompt-to-prompt"), []
    names = list(dict.fromkeys(values(some, "code")))
    best = {}
    for name in names:
        settings, _, near = points(where(some, code=name), "outside", "truth")
        best[name] = settings[near.index(max(near))]
    for i, one in enumerate(edits):
        tiles = [Tile(one.scene.render(), one.kind)]
        for name in names:
            near = mean(some, "truth", code=name, setting=best[name], image=i)
            picture = kept.picture(f"prompt-to-prompt {name} {best[name]:g} {i}")
            tiles.append(Tile(picture, f"{near:.1f} dB"))
        table.append([*tiles, Tile(one.truth.render())])
    heads = [f"{name.replace(', ', chr(10))}\nw {best[name]:g}" for name in names]
    return mosaic(table, ["source", *heads, "true edit"], tile=1.35)
