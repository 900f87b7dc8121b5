"""Photos to begin with: scenes that training never showed, drawn when the server starts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from noisespace.web.folders import beside

# held-out scenes, each with what its edit changes: the first value that the scene lacks is taken
EDITS = (
    (0, "colour", ("blue", "red", "yellow")),
    (1, "background", ("green", "orange", "blue")),
    (2, "shape", ("star", "circle", "square")),
)


def examples_of(engine: Any) -> list[list[str]]:
    """Rows of a picture's path, its caption and an edit of it; none without the scenes model."""
    if "scenes" not in engine.models:
        return []
    from noisespace.metadata import save_png
    from noisespace.train.draw import held_out_scene

    folder = Path(tempfile.mkdtemp(prefix="noisespace-examples-", dir=beside()))
    rows = []
    for seed, what, values in EDITS:
        scene = held_out_scene(seed)
        path = folder / f"scene-{seed}.png"
        save_png(path, scene.render())
        thing = scene.objects[0]
        taken = {thing.colour, thing.shape, scene.background}
        value = next(value for value in values if value not in taken)
        target = scene.edited(**{what: value}).caption  # type: ignore[arg-type]
        rows.append([str(path), scene.caption, target])
    return rows
