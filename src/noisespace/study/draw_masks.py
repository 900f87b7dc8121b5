"""Figures of DiffEdit's masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from noisespace.bench.scenes import SceneEdit
from noisespace.study.complexity import PROMPTS
from noisespace.study.intervals import dots
from noisespace.study.kept import Kept
from noisespace.study.measure import Row, mean, summary, values, where
from noisespace.study.style import INK, Tile, below, curve, dress, figure, legend, mosaic


def draw_thresholds(rows: list[Row], published: float) -> Figure:
    """IoU by the mask's threshold, for each kind of prompts."""
    made = figure(6.2, 4.0)
    axes = made.subplots()
    at = sorted(float(key.split()[1]) for key in rows[0] if key.startswith("iou "))
    for place, name in enumerate(PROMPTS):
        some = where(rows, prompts=name)
        curve(axes, at, [mean(some, f"iou {t:g}") for t in at], name, place)
    axes.axvline(published, color=INK, linewidth=1.0, linestyle=":", label="published threshold")
    axes.set_ylim(0, 1)
    dress(axes, "threshold of the mask, share of the clipped maximum", "IoU with the true mask")
    legend(axes, loc="lower center", ncols=2)
    return made


def draw_outside(rows: list[Row]) -> Figure:
    """PSNR outside the edit and to the true one, with the mask and without."""
    made = figure(8.6, 3.2)
    panels = made.subplots(1, 2, sharey=True)
    axis = {"outside": "PSNR outside the edit, dB", "truth": "PSNR to the true edit, dB"}
    for axes, (key, label) in zip(panels, axis.items(), strict=True):
        ways = {"with the mask": key, "without": f"{key} without"}
        for j, (way, column) in enumerate(ways.items()):
            found = {n: summary(values(where(rows, prompts=n), column)) for n in PROMPTS}
            dots(axes, found, way, j, PROMPTS, (j - 0.5) / 4)
        dress(axes, label, "")
    below(made, panels[0])
    return made


def draw_pictures(kept: Kept, every: Mapping[str, Sequence[SceneEdit]], rows: list[Row]) -> Figure:
    """The first scenes' masks and edits, under the simplest prompts and the most complex."""
    table = []
    for name in (PROMPTS[0], PROMPTS[-1]):
        for i, one in enumerate(every[name][:3]):
            row = where(rows, prompts=name, image=i)[0]
            mask = next(value for key, value in row.items() if key.startswith("iou "))
            true = np.repeat((one.touched * 255).astype(np.uint8)[..., None], 3, 2)
            notes = [f"{row[k]:.1f} dB" for k in ("outside without", "outside")]
            table.append(
                [
                    Tile(one.scene.render(), one.kind),
                    Tile(true),
                    Tile(kept.picture(f"{name} mask {i}"), f"IoU {mask:.2f}"),
                    Tile(kept.picture(f"{name} free {i}"), notes[0]),
                    Tile(kept.picture(f"{name} masked {i}"), notes[1]),
                    Tile(one.truth.render()),
                ]
            )
    heads = ["source", "true mask", "DiffEdit's mask", "without it", "with it", "true edit"]
    return mosaic(table, heads, tile=1.35)
