"""What an edited scene of two objects shows, read by rendering: is the edit there, what is kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from noisespace.bench.scenes import SceneEdit
from noisespace.train import fitting
from noisespace.train.judge import judge
from noisespace.train.scenes import Scene


def verdicts(some: Sequence[SceneEdit], pictures: np.ndarray) -> list[tuple[bool, bool]]:
    """(the edit is there, the other object is still there) of pictures uint8 (n, 64, 64, 3).

    The judge reads one object: the other one's half of the picture is filled with background.
    """
    first = np.stack([half(edit.scene, 0) for edit in some])
    edited, other = judge(erased(pictures, ~first)), judge(erased(pictures, first))
    out = []
    for edit, a, b in zip(some, edited, other, strict=True):
        kept = edit.scene.objects[1]
        still = b.found and (b.shape, b.colour) == (kept.shape, kept.colour)
        if edit.kind == "removed":
            done = not a.found
        elif edit.kind == "background":
            done = a.background == edit.truth.background
        else:
            thing = edit.truth.objects[0]
            done = a.found and (a.shape, a.colour) == (thing.shape, thing.colour)
            done = done and (edit.kind != "texture" or a.texture == thing.texture)
        out.append((bool(done), bool(still)))
    return out


def erased(pictures: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Pictures with some places filled by the background fitted to the rest."""
    x = torch.tensor(pictures).permute(0, 3, 1, 2).float() / 255
    ground = fitting.fit_background(x).picture
    filled = torch.where(torch.from_numpy(masks)[:, None], ground, x)
    return (filled.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()


def half(scene: Scene, index: int) -> np.ndarray:
    """The half of the picture that an object is in: nearer to its centre than to the other's."""
    y, x = np.mgrid[:64, :64] + 0.5
    near = [np.hypot(x - o.place[0], y - o.place[1]) for o in scene.objects]
    return near[index] < near[1 - index]
