"""Figures of the source captions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from noisespace.bench.scenes import SceneEdit
from noisespace.study.intervals import dots
from noisespace.study.kept import Kept
from noisespace.study.measure import Row, mean, paired, summary, values, where
from noisespace.study.source_captions import CONTROLS, FULL, NAMES
from noisespace.study.style import INK, TEXT, Tile, dress, figure, mosaic

SHOWN = tuple(name for name in NAMES if name not in CONTROLS[:2])  # those look like the full one


def draw_shares(rows: list[Row], ways: Sequence[tuple[str, str]]) -> Figure:
    """By caption: the attention inside the object, and the edits' PSNR less the full caption's."""
    made = figure(8.8, 4.8)
    left, right = made.subplots(1, 2, sharey=True)
    names = list(NAMES)
    main = where(rows, inversion=ways[0][0], editor=ways[0][1])
    for j, (key, label) in enumerate({"best word": "the best word", "noun": "the noun"}.items()):
        found = {name: summary(values(main, key, caption=name)) for name in names}
        dots(left, found, label, 3 + j, names, (j - 0.5) / 5)
    area = mean(main, "area", caption=FULL)
    left.axvline(area, color=INK, linewidth=1.0, linestyle=":", label="a map alike everywhere")
    for j, (inversion, editor) in enumerate(ways):
        own = where(rows, inversion=inversion, editor=editor)
        full = where(own, caption=FULL)
        found = {n: paired(where(own, caption=n), full, "truth") for n in names if n != FULL}
        label = f"{inversion}{'' if editor == 'none' else ', P2P'}"
        dots(right, found, label, j, names, (j - 1) / 5)
    right.axvline(0, color=INK, linewidth=1.0, linestyle=":")
    dress(left, "attention inside the edited object, share", "")
    dress(right, "dB to the true edit, less the full caption's", "")
    for axes in (left, right):
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.12), "ncols": 2}
        axes.legend(fontsize=TEXT, frameon=False, **place)
    return made


def draw_grid(
    kept: Kept, every: Sequence[SceneEdit], rows: list[Row], way: tuple[str, str]
) -> Figure:
    """Edits under each caption, over DiffEdit's map and the first noun's attention."""
    table = []
    for i, one in enumerate(every[:3]):
        tiles = [Tile(one.scene.render(), one.kind)]
        for name in SHOWN:
            where_ = {"inversion": way[0], "editor": way[1], "caption": name, "image": i}
            note = f"{mean(rows, 'truth', **where_):.1f} dB"
            tiles.append(Tile(kept.picture(f"{name} {i}"), note))
        table.append([*tiles, Tile(one.truth.render())])
        maps = [Tile(None, "DiffEdit's\nmap"), *tiles_of(kept, "diffedit", i)]
        table.append([*maps, Tile(white(one.touched), "edited region")])
        if i == 0:
            maps = [Tile(None, "attention\nof the noun"), *tiles_of(kept, "noun", i)]
            table.append([*maps, Tile(white(one.scene.mask(0)), "edited object")])
    heads = [name.replace(", ", ",\n").replace(" only", "\nonly") for name in SHOWN]
    return mosaic(table, ["source", *heads, "true edit"], tile=1.25)


def tiles_of(kept: Kept, kind: str, image: int) -> list[Tile]:
    """The kept maps of a kind under each caption; a gap where a caption has none."""
    found = [kept.picture(f"{kind} {name} {image}") for name in SHOWN]
    return [Tile(None, "-") if picture is None else Tile(picture) for picture in found]


def white(mask: np.ndarray) -> np.ndarray:
    """A mask in [0, 1] as a picture."""
    return np.repeat((mask * 255).astype(np.uint8)[..., None], 3, 2)
