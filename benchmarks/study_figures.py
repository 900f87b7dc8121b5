"""The pictures of the studies: curves by step, and mosaics of edits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from editors import Case, psnr
from paired import kept
from PIL import Image
from results import read, where

from noisespace.study.style import Tile, figure
from noisespace.study.style import mosaic as mosaic_of

INK, DPI = "#1d1d1f", 78
COLOURS = ("#3b6fb6", "#c8553d", "#8a8a8e", "#3d8f5f")


def mosaic(rows: Sequence[Sequence[Tile]], heads: Sequence[str], path: Path) -> None:
    """Rows of pictures under column headings, as a file."""
    made = mosaic_of(rows, heads, tile=1.28, sizes=(8, 7), dpi=DPI)
    made.savefig(path)
    with Image.open(path) as picture:
        picture.convert("RGB").save(path, optimize=True)


def band(axes, rows: Sequence[Sequence[float]], label: str, colour: str, style: str = "-") -> None:
    """The mean over scenes by step, and the middle half of the scenes."""
    values = np.array(rows)
    steps = np.arange(values.shape[1])
    axes.plot(steps, values.mean(0), style, label=label, color=colour, linewidth=1.6)
    low, high = np.quantile(values, (0.25, 0.75), axis=0)
    axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)


def draw_steps(out: Path) -> None:
    """Distances by step: along the pivot, and of null-text's null at each guidance."""
    lines = read(out)
    pivot = where(lines, what="pivot")
    weights = list(dict.fromkeys(d["w"] for d in where(lines, what="null", method="null-text")))
    made = figure(4.3 * (1 + len(weights)), 3.9, DPI)
    panels = made.subplots(1, 1 + len(weights), sharey=True, squeeze=False)[0]
    names = {
        "adjacent": "to the next step",
        "level": "to another step, at random",
        "stranger": "to the same step of another scene",
        "guidance": 'from the source text to ""',
    }
    for (key, name), colour in zip(names.items(), COLOURS, strict=True):
        band(panels[0], [d[key] for d in pivot], name, colour)
    panels[0].set_title("eps along the DDIM pivot", fontsize=10)
    for axes, w in zip(panels[1:], weights, strict=True):
        found = where(lines, what="null", method="null-text", w=w)
        band(axes, [d["text"] for d in found], "null* to the source text", COLOURS[0])
        band(axes, [d["empty"] for d in found], 'null* to ""', COLOURS[1])
        band(axes, [d["guidance"] for d in pivot], 'source text to ""', COLOURS[3])
        ideal = [[v / abs(w - 1) for v in d["adjacent"]] for d in pivot]
        label = "next step's distance / |w - 1|"
        axes.plot(np.mean(ideal, 0), ":", color=INK, linewidth=1.2, label=label)
        axes.set_title(f"eps under null-text's null, w = {w:g}", fontsize=10)
    for axes in panels:
        axes.set_yscale("log")
        axes.set_xlabel("step, noisy to clean")
        axes.grid(alpha=0.3, which="major")
        axes.legend(fontsize=7.5, framealpha=0.85)
    panels[0].set_ylabel("|difference| / |eps|")
    made.savefig(out / "steps.png")


def edit_tile(out: Path, name: str, scene: int, case: Case) -> Tile:
    """A kept edit, with its PSNR to the true one."""
    picture = kept(out, name, scene)
    return Tile(picture, f"{psnr(picture, case.truth.render()):.1f} dB")


def draw_premises(out: Path, every: Sequence[Case]) -> None:
    """steps.png, and edits.png: one scene of each kind by both methods."""
    draw_steps(out)
    weights = dict.fromkeys(d["w"] for d in where(read(out), what="null", method="null-text"))
    pairs = [
        (f"{method} {w:g} {editor}", f"{method}\nw {w:g}{' + p2p' if editor != 'none' else ''}")
        for w in weights
        for editor in ("none", "prompt-to-prompt")
        for method in ("null-text", "negative-prompt")
    ]
    pairs = [pair for pair in pairs if (out / "pictures" / f"{pair[0]} 0.png").exists()]
    rows = []
    for i, case in list(enumerate(every))[5:10] or list(enumerate(every))[:5]:
        row = [Tile(case.scene.render(), case.kind)]
        row += [edit_tile(out, name, i, case) for name, _ in pairs]
        rows.append([*row, Tile(case.truth.render())])
    mosaic(rows, ["source", *(head for _, head in pairs), "true edit"], out / "edits.png")


def map_row(out: Path, kind: str, label: str, scene: int, names: Sequence[str]) -> list[Tile]:
    """The kept maps of a kind under each caption; a gap where a caption has none."""
    tiles = [Tile(None, label)]
    for name in names:
        there = (out / "pictures" / f"{kind} {name} {scene}.png").exists()
        tiles.append(Tile(kept(out, f"{kind} {name}", scene)) if there else Tile(None, "-"))
    return tiles


def white(mask: np.ndarray) -> np.ndarray:
    """A mask in [0, 1] as a picture."""
    return np.repeat((mask * 255).astype(np.uint8)[..., None], 3, 2)


def draw_captions(out: Path, every: Sequence[Case], names: Sequence[str], row: str) -> None:
    """grid.png: edits under each caption, over DiffEdit's map and the first noun's attention."""
    rows = []
    for i, case in list(enumerate(every))[:3]:
        tiles = [edit_tile(out, f"{row} {name}", i, case) for name in names]
        rows.append([Tile(case.scene.render(), case.kind), *tiles, Tile(case.truth.render())])
        apart = map_row(out, "diffedit", "DiffEdit's\nmap", i, names)
        rows.append([*apart, Tile(white(case.touched), "edited region")])
        if i == 0:
            looks = map_row(out, "noun", "attention of\nthe noun", i, names)
            rows.append([*looks, Tile(white(case.scene.mask(0)), "edited object")])
    heads = ["source", *(name.replace(", ", ",\n").replace(" only", "\nonly") for name in names)]
    mosaic(rows, [*heads, "true edit"], out / "grid.png")
