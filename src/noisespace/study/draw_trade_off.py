"""Figures of structure against target."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from noisespace.study.curves import names_of, points
from noisespace.study.intervals import dots
from noisespace.study.kept import Kept
from noisespace.study.measure import Row, mean, where
from noisespace.study.style import INK, Tile, below, curve, dress, figure, mosaic
from noisespace.study.subjects import SceneEdit

LABELS = {
    "outside": "structure: PSNR outside the edit, dB",
    "lpips": "structure: LPIPS (AlexNet) to the input, less is better",
    "asked": "target: edits as asked, %",
    "truth": "PSNR to the true edit, dB",
    "alignment": "target: in-domain alignment, cosine",
}


def draw(rows: list[Row], x: str, y: str) -> Figure:
    """A curve a method, with the do-nothing edits as points."""
    made = figure(6.6, 4.8)
    axes, unit = made.subplots(), 100.0 if y == "asked" else 1.0
    for place, name in enumerate(names_of(rows)):
        some = where(rows, method=name)
        _, xs, ys = points(some, x, y)
        label = f"{name} ({some[0]['knob']})"
        curve(axes, xs, [unit * v for v in ys], name, place, label=label)
    for does, marker in (("input", "*"), ("autoencoder", "+")):
        at = mean(rows, x, does=does), unit * mean(rows, y, does=does)
        axes.plot(*at, marker, color=INK, markersize=11, linestyle="", label=f"{does}, no edit")
    if x == "lpips":
        axes.invert_xaxis()
    count = len({r["image"] for r in rows})
    dress(axes, LABELS[x], LABELS[y], f"{count} scenes; what is turned is in brackets")
    below(made, axes, 3)
    return made


def draw_pictures(kept: Kept, edits: list[SceneEdit], rows: list[Row]) -> Figure:
    """Up to four edits by every method, at the setting that came nearest to the true edits."""
    names, best = names_of(rows), {}
    for name in names:
        settings, _, near = points(where(rows, method=name), "outside", "truth")
        best[name] = settings[int(np.argmax(near))]
    table = []
    for i, one in enumerate(edits[:4]):
        tiles = [Tile(one.scene.render(), one.kind), Tile(one.truth.render())]
        for name in names:
            near = mean(rows, "truth", method=name, setting=best[name], image=i)
            tiles.append(Tile(kept.picture(f"{name} {best[name]:g} {i}"), f"{near:.1f} dB"))
        table.append(tiles)
    heads = [f"{name.replace(', ', chr(10))}\n{best[name]:g}" for name in names]
    return mosaic(table, ["source", "true edit", *heads], tile=1.2)


def draw_areas(others: Row) -> Figure | None:
    """How far the edit-friendly front lies before others; None where nothing was measured."""
    panels = {
        key: {name: gaps[key] for name, gaps in others.items() if known(gaps.get(key))}
        for key in ("asked at equal outside", "asked at equal lpips")
    }
    panels = {key: found for key, found in panels.items() if found}
    if not panels:
        return None
    made = figure(3.9 * len(panels) + 1.4, 3.2)
    every = made.subplots(1, len(panels), squeeze=False)[0]
    for axes, (key, found) in zip(every, panels.items(), strict=True):
        ends = ("mean", "low", "high")
        dots(axes, {name: {k: 100 * one[k] for k in ends} for name, one in found.items()}, key)
        axes.axvline(0, color=INK, linewidth=0.8)
        equal = "PSNR outside the edit" if key.endswith("outside") else "LPIPS"
        n = max(one["n"] for one in found.values())
        title = f"edits as asked at equal\n{equal}, {n} scenes"
        dress(axes, "edit-friendly less others, points", "", title)
    return made


def known(found: Row | None) -> bool:
    """Whether two fronts were compared, with an interval."""
    return found is not None and not math.isnan(found["low"])
