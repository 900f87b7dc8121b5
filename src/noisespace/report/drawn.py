"""The benchmark's figures: curves of target by structure, and a gallery of the same pictures."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from noisespace.bench.cases import Case
from noisespace.bench.pictures import slug
from noisespace.report.methods import Axes, Compared, Family, curve
from noisespace.study.style import INK, Tile, below, dress, figure, mosaic
from noisespace.study.style import curve as draw_curve

LABELS = {
    "lpips_alex": "structure: LPIPS (AlexNet) to the input; less is better",
    "psnr_outside": "structure: PSNR outside the edit, dB",
    "alignment": "target: alignment with the target prompt",
    "as_asked": "target: edits as asked, %",
}
SHORT = {"prompt-to-prompt": "P2P", "plug-and-play": "PnP"}


def draw_axes(found: Compared, axes: Axes) -> Figure | None:
    """A curve a family; None where a column was not measured. The do-nothing edits are points."""
    curves = [(family, curve(found.rows, family, axes)) for family in found.families]
    known = [(family, one) for family, one in curves if one is not None]
    if not known:
        return None
    unit = 100.0 if axes.target == "as_asked" else 1.0
    made = figure(7.0, 6.0)
    panel = made.subplots()
    for place, (family, one) in enumerate(known):
        x, y = np.nanmean(one.structure, 0), unit * np.nanmean(one.target, 0)
        finite = np.isfinite(x)
        draw_curve(panel, x[finite], y[finite], family.name, place, label=labelled(family))
    for name, marker in (("nothing", "*"), ("autoencoder", "+")):
        x, y = (mean(found, name, column) for column in (axes.structure, axes.target))
        if math.isfinite(x):
            style = {"color": INK, "markersize": 11, "linestyle": ""}
            panel.plot(x, unit * y, marker=marker, label=f"{name} (no edit)", **style)
    if axes.structure == "lpips_alex":
        panel.invert_xaxis()  # better to the right in every figure
    count = len({row["id"] for row in found.rows})
    title = f"{count} scenes; what is turned is in brackets"
    dress(panel, LABELS[axes.structure], LABELS[axes.target], title)
    below(made, panel, 2)
    return made


def labelled(family: Family) -> str:
    """A family and its knob."""
    return f"{family.name} ({family.knob})"


def mean(found: Compared, method: str, column: str) -> float:
    """The mean of a column over a line's finite values."""
    values = [row.get(column) for row in found.rows if row["method"] == method]
    finite = [v for v in values if v is not None and math.isfinite(v)]
    return float(np.mean(finite)) if finite else math.nan


def middle(family: Family) -> int:
    """Which setting of a family a gallery shows."""
    return len(family.lines) // 2


def draw_gallery(found: Compared, out: Path) -> Figure:
    """One picture of each kind of edit: the input, the true edit, every family's middle setting.

    ``out``: the benchmark's folder, which has the pictures.
    """
    shown = list({case.kind: case for case in reversed(found.cases)}.values())[::-1][:6]
    rows = []
    for family in (None, *found.families):
        tiles = [Tile(None, "input" if family is None else heading(family))]
        for case in shown:
            line = None if family is None else family.lines[middle(family)]
            tiles.append(Tile(case.pixels() if line is None else kept(out, line, case)))
        rows.append(tiles)
    truths = [Tile(case.true_edit()) for case in shown]
    rows.insert(1, [Tile(None, "true edit"), *truths])
    return mosaic(rows, ["", *(case.kind for case in shown)], tile=1.15)


def heading(family: Family) -> str:
    """A family's name over two lines, with the setting that is shown."""
    name, _, editor = family.name.partition(" + ")
    setting = f"{family.knob} {family.settings[middle(family)]}"
    parts = [name, f"+ {SHORT.get(editor, editor)}" if editor else "", setting]
    return "\n".join(part for part in parts if part)


def kept(out: Path, line: str, case: Case) -> np.ndarray | None:
    """The picture of a line and case, None where it failed."""
    path = out / "pictures" / slug(line) / f"{slug(case.id)}.png"
    return np.asarray(Image.open(path).convert("RGB")) if path.is_file() else None
