"""Structure distances: how far the layout of two pictures differs, whatever their look.

A picture's layout is the self-similarity of its features: the cosine of every place with every
other (arXiv 2201.00424, eq. 5). The distance is the mean squared difference of two such matrices,
as in that paper's code (its equation writes the Frobenius norm).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from noisespace.bench.lpips import LPIPS
from noisespace.errors import InputError
from noisespace.models.loading import where
from noisespace.models.pipeline_folder import check_part, quietly, read_json

SHORTER = 224  # px, the side at which both networks look; the paper's code does so for DINO
RELU4_3 = 3  # the number of VGG16's relu4_3 among the layers that LPIPS compares
VITS = ("ViTModel", "Dinov2Model", "Dinov2WithRegistersModel")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours, in [0, 1]


def self_similarity(x: Tensor) -> Tensor:
    """The cosines (rows, places, places) of features (rows, places, d)."""
    x = functional.normalize(x, dim=2)
    return x @ x.mT


def structure_distance(x: Tensor, y: Tensor) -> Tensor:
    """The mean squared difference of the self-similarities of two pictures' features, (rows,)."""
    return (self_similarity(x) - self_similarity(y)).square().mean((1, 2))


def vgg_structure(lpips: LPIPS, x: Tensor, y: Tensor) -> Tensor:
    """The structure distance (rows,) of VGG16's relu4_3 features; never to be called DINO's.

    ``x``, ``y`` (rows, 3, H, W) in [-1, 1]; larger ones are brought to a shorter side of 224 px,
    smaller ones stay as they are (64 px give 8 x 8 places).
    """
    if lpips.net != "vgg":
        raise InputError(f"got LPIPS {lpips.net!r}, expected 'vgg': its relu4_3 is compared")

    def places(pixels: Tensor) -> Tensor:
        if min(pixels.shape[-2:]) > SHORTER:
            pixels = shorter(pixels, SHORTER)
        return lpips.features(pixels)[RELU4_3].flatten(2).mT

    return structure_distance(places(x), places(y))


def shorter(x: Tensor, side: int) -> Tensor:
    """Pictures with that shorter side, bilinear and antialiased."""
    scale = side / min(x.shape[-2:])
    size = [max(1, round(length * scale)) for length in x.shape[-2:]]
    if size == list(x.shape[-2:]):
        return x
    return functional.interpolate(x, size=size, mode="bilinear", antialias=True)


class Dino:
    """``Dino(vit)(x, y)``: the structure distance of a DINO ViT's last keys, (rows,).

    The keys of all heads, joined, at every token, the first included, as in the code of arXiv
    2201.00424. ``x``, ``y`` (rows, 3, H, W) in [0, 1].
    """

    def __init__(self, vit: Any, side: int = SHORTER) -> None:
        """``vit``: a transformers ViTModel or Dinov2Model; ``side``: the shorter one it sees."""
        self.vit, self.side = vit, side

    def __call__(self, x: Tensor, y: Tensor, *, scale: float = 1.0) -> Tensor:
        """``scale``: PIE-Bench's code does not divide by 255, and so has 255 here."""
        return structure_distance(self.keys(x, scale), self.keys(y, scale))

    def keys(self, x: Tensor, scale: float = 1.0) -> Tensor:
        """The last block's keys (rows, tokens, d)."""
        weights = next(self.vit.parameters())
        x = shorter(x.to(weights.device, weights.dtype), self.side) * scale
        x = (x - x.new_tensor(MEAN).view(-1, 1, 1)) / x.new_tensor(STD).view(-1, 1, 1)
        options = {} if "Dinov2" in type(self.vit).__name__ else {"interpolate_pos_encoding": True}
        with kept_keys(self.vit) as kept:
            self.vit(pixel_values=x, **options)
        return kept[0]


@contextmanager
def kept_keys(vit: Any) -> Iterator[list[Tensor]]:
    """While open, the output of the last block's key projection is added to the list."""
    # transformers has renamed it: attention.attention.key before, attention.k_proj since
    found = [m for name, m in vit.named_modules() if name.split(".")[-1] in ("key", "k_proj")]
    if not found:
        raise InputError(f"the class {type(vit).__name__} has no projection to keys")
    kept: list[Tensor] = []

    def keep(module: Any, given: Any, output: Tensor) -> None:
        kept.append(output)

    hook = found[-1].register_forward_hook(keep)
    try:
        yield kept
    finally:
        hook.remove()


@lru_cache(maxsize=2)
def load_dino(folder: str, device: str = "cpu") -> Dino:
    """The structure distance of a DINO ViT's folder (ViTModel or Dinov2Model, safetensors).

    The papers' figures are of dino_vitb8 (facebook/dino-vitb8 on the Hub).
    """
    inside = Path(folder).expanduser().resolve()
    if not (inside / "config.json").is_file():
        raise InputError(f"{folder}: is no folder of a DINO ViT (no config.json)")
    named = next(iter(read_json(inside / "config.json").get("architectures") or []), None)
    if named not in VITS:
        raise InputError(f"{folder}: got the class {named}, expected {' or '.join(VITS)}")
    check_part(inside.parent, inside.name)

    def vit() -> Any:
        import transformers

        options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
        cls = getattr(transformers, named)
        return cls.from_pretrained(str(inside), torch_dtype=torch.float32, **options)

    return Dino(quietly(vit, folder).eval().requires_grad_(False).to(where(device)))
