"""Grids of pictures, for a look at a run."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor


def to_uint8(pictures: Tensor) -> Tensor:
    """(n, 3, h, w) in [-1, 1] -> uint8 (n, h, w, 3)."""
    return ((pictures.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1)


def save_grid(pictures: Tensor, path: Path, columns: int = 8, scale: int = 2) -> None:
    """Writes (n, 3, h, w) pictures in [-1, 1] as one PNG, row by row; the last row may be short."""
    n, _, h, w = pictures.shape
    rows = -(-n // columns)
    page = torch.full((rows * columns, h, w, 3), 255, dtype=torch.uint8)
    page[:n] = to_uint8(pictures.cpu())
    page = page.view(rows, columns, h, w, 3).permute(0, 2, 1, 3, 4).reshape(rows * h, -1, 3)
    image = Image.fromarray(page.numpy())
    image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST).save(path)
