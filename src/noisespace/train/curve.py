"""The loss curve as a picture."""

from __future__ import annotations

import json
from pathlib import Path


def draw_curve(log: Path, path: Path) -> None:
    """Draws the running mean of the loss in ``log`` (JSON lines) over the steps, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    if not rows:
        return
    figure = Figure(figsize=(6, 3.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot([r["step"] for r in rows], [r["loss"] for r in rows], color="#3b6fb6", linewidth=1.2)
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("loss (running mean)")
    axes.set_title(f"{log.stem}: {rows[-1]['seconds'] / 60:.1f} minutes", fontsize=10)
    axes.grid(alpha=0.3, which="both")
    figure.savefig(path)
