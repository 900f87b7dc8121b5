"""Figures of null-text inversion by its iterations."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from noisespace.study.kept import Kept
from noisespace.study.measure import Row, mean, values, where
from noisespace.study.style import INK, OTHERS, Tile, below, curve, dress, figure, mark, mosaic
from noisespace.study.subjects import autoencoded

NEGATIVE = "negative-prompt"


def draw(rows: list[Row]) -> Figure:
    """PSNR by iterations a step, between the autoencoder's bound and DDIM."""
    made = figure(6.8, 4.9)
    axes = made.subplots()
    names = dict.fromkeys(r["method"] for r in rows if r["iterations"])
    # null-text has a look of its own, which no other may have
    free = cycle([k for k, look in enumerate(OTHERS) if look != mark("null-text")])
    for name in names:
        place = 0 if name == "null-text" else next(free)
        some = where(rows, method=name)
        at = sorted({r["iterations"] for r in some})
        label = name.removeprefix("ablation: ")
        curve(axes, at, [mean(some, "psnr", iterations=n) for n in at], label, place)
    flat = {"the autoencoder's own": ("bound", "ddim", "-"), "negative prompt": (0, NEGATIVE, "--")}
    for label, (key, name, line) in {**flat, "DDIM": (0, "ddim", ":")}.items():
        level = mean(rows, key or "psnr", method=name)
        axes.axhline(level, color=INK, linewidth=1.0, linestyle=line, label=label)
    axes.set_xscale("log")
    ticks = sorted({r["iterations"] for r in rows if r["iterations"]})
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.minorticks_off()
    w = values(rows, "guidance", method="ddim")[0]
    dress(axes, "iterations a step", "PSNR of the reconstruction, dB", f"guidance {w:g}")
    below(made, axes, 3)
    return made


def draw_pictures(model: Any, kept: Kept, scenes: list, rows: list[Row]) -> Figure:
    """Up to three pictures: the bound, DDIM, null-text and its ablations at most iterations."""
    names = [n for n in dict.fromkeys(r["method"] for r in rows) if n != "ddim, w 1"]
    some, table = scenes[:3], []
    bounds = autoencoded(model, some)
    for i, scene in enumerate(some):
        tiles = [Tile(scene.render()), Tile(np.asarray(bounds[i]))]
        for name in names:
            n = max(values(rows, "iterations", method=name))
            found = mean(rows, "psnr", method=name, iterations=n, image=i)
            picture = kept.picture(f"{name} {n}".replace(":", "") + f" {i}")
            tiles.append(Tile(picture, f"{found:.1f} dB"))
        table.append(tiles)
    heads = [n.removeprefix("ablation: ").replace(" inversion", "\ninversion") for n in names]
    heads = [h.replace(", ", ",\n").replace("-prompt", "-\nprompt") for h in heads]
    return mosaic(table, ["source", "auto-\nencoder", *heads], tile=1.2)
