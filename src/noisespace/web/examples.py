"""Photos to begin with: scenes that training never showed, drawn when the server starts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from noisespace.web.folders import beside

# Held-out scenes, each with what its edit changes. The page's own settings reach 25 to 34 dB to the
# true edits of these; not of all: an orange background in place of a green one fails.
EDITS = ((0, "colour", "blue"), (4, "background", "white"), (2, "shape", "star"))


def examples_of(engine: Any) -> list[list[str]]:
    """Rows of a picture's path, its caption and an edit of it; none without the scenes model."""
    if "scenes" not in engine.models:
        return []
    from noisespace.pictures.metadata import save_png
    from noisespace.train.draw import held_out_scene

    folder = Path(tempfile.mkdtemp(prefix="noisespace-examples-", dir=beside()))
    rows = []
    for seed, what, value in EDITS:
        scene = held_out_scene(seed)
        path = folder / f"scene-{seed}.png"
        save_png(path, scene.render())
        target = scene.edited(**{what: value}).caption  # type: ignore[arg-type]
        rows.append([str(path), scene.caption, target])
    return rows
