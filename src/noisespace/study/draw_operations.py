"""Figures of translated and painted noise maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from noisespace.study.finding import Row
from noisespace.study.kept import Kept
from noisespace.study.measure import mean, psnr, where
from noisespace.study.painting import recoloured
from noisespace.study.style import Tile, below, curve, dress, figure, legend, mosaic
from noisespace.train.scenes import Scene

SHARES = {"colour": "new colour reached", "texture": "old texture kept"}


def draw_shift(rows: list[Row], kinds: Sequence[str]) -> Figure:
    """PSNR to the translated picture by the shift."""
    made = figure(5.6, 3.6)
    axes = made.subplots()
    for kind in kinds:
        some = where(rows, what="shift", kind=kind)
        # at 0 a native picture is compared with itself
        by = sorted({r["shift"] for r in some if r["shift"] or kind != "native"})
        curve(axes, by, [mean(some, "psnr", shift=v) for v in by], kind)
    y = "PSNR to the translated picture, dB"
    dress(axes, "translation of all noise maps, pixels", y)
    legend(axes)
    return made


def draw_colour(rows: list[Row]) -> Figure:
    """The shares with the new colour and with the old texture, by the strength of each way."""
    made = figure(6.6, 3.6)
    panels = made.subplots(1, 2, sharey=True)
    titles = {"color-edit": "ColorEdit: paint in the maps", "sdedit": "SDEdit: paint over it"}
    for axes, (kind, title) in zip(panels, titles.items(), strict=True):
        some = where(rows, what="colour", kind=kind)
        settings = sorted({r["setting"] for r in some})
        for j, (key, name) in enumerate(SHARES.items()):
            curve(axes, settings, [100 * mean(some, key, setting=s) for s in settings], name, j)
        axes.set_ylim(-5, 105)
        dress(axes, "strength", "share of pictures, %" if axes is panels[0] else "", title)
    below(made, panels[0])
    return made


def shift_pictures(kept: Kept, kinds: Sequence[str], shifts: Sequence[int]) -> Figure:
    """The first picture of each kind under every translation."""
    rows = []
    for kind in kinds:
        tiles = [Tile(kept.picture(f"shift {kind} {by} 0")) for by in shifts]
        rows.append([Tile(None, kind.replace(", ", ",\n")), *tiles])
    return mosaic(rows, ["", *(f"{by} pixels" for by in shifts)])


def colour_pictures(
    kept: Kept, scenes: Sequence[Scene], settings: Mapping[str, Sequence[float]]
) -> Figure:
    """Up to three scenes, their true recolouring, and some strengths of each way to paint."""
    some = [(kind, s) for kind, every in settings.items() for s in spread(every, 3)]
    rows = []
    for i, scene in enumerate(scenes[:3]):
        truth = recoloured(scene).render()
        row = [Tile(scene.render()), Tile(truth)]
        for kind, setting in some:
            picture = kept.picture(f"colour {kind} {setting:g} {i}")
            note = "" if picture is None else f"{psnr(picture, truth):.1f} dB"
            row.append(Tile(picture, note))
        rows.append(row)
    heads = {"color-edit": "ColorEdit", "sdedit": "SDEdit"}
    names = [f"{heads[kind]}\n{setting:g}" for kind, setting in some]
    return mosaic(rows, ["source", "true edit", *names])


def spread(values: Sequence[float], count: int) -> list[float]:
    """That many of the values, the first and the last among them."""
    if len(values) <= count:
        return list(values)
    return [values[round(i * (len(values) - 1) / (count - 1))] for i in range(count)]
