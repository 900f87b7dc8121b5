"""Pictures of a code: where its noise maps are strong, how they agree, what the path looks like."""

from __future__ import annotations

import numpy as np
from PIL import Image
from torch import Tensor

from noisespace.core.code import Code
from noisespace.errors import InputError

SIDE = 320  # pixels that a map is enlarged to at least, each latent position a square
SHOWN = 8  # states and maps that are drawn


def variance(code: Code) -> tuple[Image.Image, np.ndarray]:
    """Mean square of the noise maps at each position over steps and channels, and by step."""
    maps = noise(code)
    return coloured(maps.square().mean((0, 1)).numpy(), "viridis"), by_step(maps)


def by_step(maps: Tensor) -> np.ndarray:
    """The variance of each map, (steps,)."""
    return maps.flatten(1).var(1, correction=0).numpy()


def correlations(code: Code) -> np.ndarray:
    """The correlation of every two of the noise maps, (steps, steps)."""
    flat = noise(code).flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    flat = flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return (flat @ flat.T).numpy()


def correlation(code: Code) -> Image.Image:
    """The correlations as a picture, blue -1, white 0, red 1; first step at the top left."""
    return coloured((correlations(code) + 1) / 2, "RdBu_r", top=1.0)


def noise(code: Code) -> Tensor:
    """The noise maps of a frozen code's first image that are not all zero, (steps, c, h, w)."""
    maps = code.noise_maps()[:, 0].float().cpu()
    maps = maps[maps.flatten(1).abs().amax(1) > 0]
    if not len(maps):
        raise InputError(
            "this code has no noise maps: invert with edit-friendly or cycle-diffusion"
        )
    return maps


def strip(code: Code) -> list[tuple[Image.Image, str]]:
    """Some of the noise maps z_t, noisiest first, each with its step and variance."""
    maps = noise(code)
    chosen = sorted({round(k) for k in np.linspace(0, len(maps) - 1, min(SHOWN, len(maps)))})
    return [
        (
            false_colour(maps[k]),
            f"z at step {k + 1} of {len(maps)}: variance {float(maps[k].var()):.2f}",
        )
        for k in chosen
    ]


def false_colour(map_: Tensor) -> Image.Image:
    """The first three channels as red, green and blue, grey at 0, 3 deviations at the ends."""
    three = map_[:3] if len(map_) >= 3 else map_[:1].expand(3, -1, -1)
    scale = float(three.std()) or 1.0
    pixels = ((three / (3 * scale)).clamp(-1, 1) + 1) * 127.5
    return enlarged(Image.fromarray(pixels.permute(1, 2, 0).round().byte().numpy()))


def coloured(values: np.ndarray, name: str, top: float | None = None) -> Image.Image:
    """Values (h, w) from 0 to ``top`` (their maximum) in a colour map."""
    from matplotlib import colormaps

    most = float(values.max()) if top is None else top
    scaled = np.clip(values / max(most, 1e-12), 0, 1)
    return enlarged(Image.fromarray((colormaps[name](scaled)[..., :3] * 255).astype(np.uint8)))


def enlarged(picture: Image.Image) -> Image.Image:
    """By a whole factor and nearest pixel, so that what is seen is what is there."""
    by = max(1, -(-SIDE // max(picture.size)))
    return picture.resize((picture.width * by, picture.height * by), Image.Resampling.NEAREST)
