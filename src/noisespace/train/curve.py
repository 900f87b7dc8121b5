"""Curves of the loss as pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from noisespace.system.files import write_bytes


def draw_curve(log: Path, path: Path) -> None:
    """Draws the running mean of the loss in ``log`` (JSON lines) over the steps, as a PNG."""
    text = log.read_text(encoding="utf-8") if log.exists() else ""  # a first step saved unlogged
    rows = [json.loads(line) for line in text.splitlines()]
    if not rows:
        return
    figure, axes = blank()
    axes.plot([r["step"] for r in rows], [r["loss"] for r in rows], color="#3b6fb6", linewidth=1.2)
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("loss (running mean)")
    axes.set_title(f"{log.stem}: {rows[-1]['seconds'] / 60:.1f} minutes", fontsize=10)
    axes.grid(alpha=0.3, which="both")
    figure.savefig(path)


def draw_levels(record: dict[str, Any], path: Path) -> None:
    """Draws the loss of each set of pictures over the noise level, as a PNG.

    ``record``: "step", the timesteps "t", and by name the losses there.
    """
    figure, axes = blank()
    for name in sorted(record.keys() - {"step", "t"}):
        axes.plot(record["t"], record[name], marker="o", markersize=3, linewidth=1.2, label=name)
    axes.set_yscale("log")
    axes.set_xlabel("timestep (the noisiest is on the right)")
    axes.set_ylabel("mean squared error of the noise")
    axes.set_title(f"loss by noise level after {record['step']} steps", fontsize=10)
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path)


def draw_shares(log: Path, path: Path) -> None:
    """Draws every share in ``log`` (JSON lines) over the steps, as a PNG."""
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    figure, axes = blank()
    for name in sorted(rows[-1].keys() - {"step"}):
        seen = [row for row in rows if name in row]
        axes.plot([r["step"] for r in seen], [r[name] for r in seen], marker="o", label=name)
    axes.set_ylim(0, 1)
    axes.set_xlabel("step")
    axes.set_ylabel("share right, unseen pictures")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)


def add_line(path: Path, record: dict[str, Any]) -> None:
    """Adds a record to a file of JSON lines; later steps that a killed run had written go."""
    old = []
    if path.exists():
        old = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    kept = [row for row in old if row["step"] < record["step"]]
    text = "".join(json.dumps(row) + "\n" for row in [*kept, record])
    write_bytes(path, text.encode(), force=True)


def blank() -> tuple[Any, Any]:
    """An empty figure and its axes, without a window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()
