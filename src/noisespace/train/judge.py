"""What a picture of one object shows, found by rendering: nothing here is learned.

The background is fitted first (ten tones, four gradients, then a robust linear fit); what differs
from it is the object. Each shape is fitted to that silhouette, each texture and colour to the
picture, and the rendering nearest to the picture wins. A picture that no rendering explains is
judged to show nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from noisespace.errors import InputError
from noisespace.train import fitting
from noisespace.train.palette import COLOURS, GRADIENTS, SHAPES, TEXTURES
from noisespace.train.render import SIZE

CHUNK = 25  # pictures at a time: keeps the renderings in the processor's cache
TRIED = 6  # shapes whose colours and textures are tried, best silhouettes first
LEAST_GROUND = 0.35  # share of pixels that must belong to the background
LEAST_PIXELS = 80.0  # of an object; the smallest that scenes draw has about 110
LEAST_EXPLAINED = 0.6  # of the squared difference from the bare background
MOST_RESIDUAL = 0.13  # root mean square, in [0, 1]; beyond, the rendering is not the picture


@dataclass(frozen=True)
class Verdict:
    """One picture's attributes; all None and ``found`` False when it shows no scene.

    ``background`` is told even where no object was found, unless there is no background either.
    ``residual`` is the root mean square difference to the best rendering, in [0, 1].
    """

    found: bool
    background: str | None = None
    gradient: str | None = None
    shape: str | None = None
    colour: str | None = None
    texture: str | None = None
    size: float | None = None
    place: tuple[float, float] | None = None
    residual: float = float("inf")


def judge(images: np.ndarray | Sequence[np.ndarray]) -> list[Verdict]:
    """Judges pictures of one object each, uint8 (n, 64, 64, 3) or a list of (64, 64, 3)."""
    array = np.stack([np.asarray(image) for image in images]) if len(images) else np.empty(0)
    if array.dtype != np.uint8 or array.shape[1:] != (SIZE, SIZE, 3):
        raise InputError(
            f"got pictures {array.dtype} {array.shape}, expected uint8 (n, {SIZE}, {SIZE}, 3)"
        )
    pictures = torch.from_numpy(array).permute(0, 3, 1, 2).float() / 255
    return [verdict for part in pictures.split(CHUNK) for verdict in _judge(part)]


@torch.no_grad()
def _judge(pictures: Tensor) -> list[Verdict]:
    ground = fitting.fit_background(pictures)
    silhouette = fitting.foreground(pictures, ground.picture)
    places, misfit = fitting.fit_silhouettes(silhouette)  # (n, 8, 3), (n, 8)
    shapes = misfit.argsort(dim=1)[:, :TRIED]
    chosen = places.gather(1, shapes[..., None].expand(-1, -1, 3))
    best = fitting.fit_paint(pictures, ground.picture, shapes, chosen)
    area = silhouette.sum((1, 2))
    bare = (pictures - ground.picture).square().mean((1, 2, 3))
    verdicts = []
    for i in range(len(pictures)):
        residual = float(best.error[i]) ** 0.5
        if ground.share[i] < LEAST_GROUND:
            verdicts.append(Verdict(False, residual=residual))
            continue
        names = (tuple(COLOURS)[ground.colour[i]], GRADIENTS[ground.gradient[i]])
        explained = 1 - float(best.error[i] / bare[i].clamp(min=1e-9))
        found = residual < MOST_RESIDUAL and explained > LEAST_EXPLAINED
        if area[i] < LEAST_PIXELS or not found:
            verdicts.append(Verdict(False, *names, residual=residual))
            continue
        x, y, radius = best.place[i].tolist()
        what = (
            SHAPES[best.shape[i]],
            tuple(COLOURS)[best.colour[i]],
            TEXTURES[best.texture[i]],
        )
        verdicts.append(Verdict(True, *names, *what, radius, (x, y), residual))
    return verdicts
