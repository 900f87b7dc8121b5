"""What is judged: a picture, its edit, where the edit may act, and the prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from noisespace.errors import InputError

Region = Literal["whole", "inside", "outside"]


@dataclass(frozen=True, eq=False)
class Edit:
    """One edit. ``source``, ``edited``: uint8 (H, W, 3), of one size.

    ``mask``: boolean (H, W), true where the edit may act ("inside"). What is not given leaves the
    metrics that need it undefined.
    """

    source: np.ndarray
    edited: np.ndarray
    mask: np.ndarray | None = None
    source_prompt: str | None = None
    target_prompt: str | None = None

    def __post_init__(self) -> None:
        for name in ("source", "edited"):
            picture = getattr(self, name)
            if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
                raise InputError(
                    f"got {name} {picture.dtype} {picture.shape}, expected uint8 (height, width, 3)"
                )
        if self.source.shape != self.edited.shape:
            raise InputError(
                f"the source is {self.source.shape[:2]}, the edit {self.edited.shape[:2]}; expected"
                " one (height, width): bring the edit back to its input's size first"
            )
        mask = self.mask
        if mask is not None and (mask.dtype != np.bool_ or mask.shape != self.source.shape[:2]):
            raise InputError(
                f"got a mask {mask.dtype} {mask.shape}, expected bool {self.source.shape[:2]}"
            )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.source.shape[0], self.source.shape[1]

    def region(self, region: Region) -> np.ndarray | None:
        """The pixels of a region, boolean (H, W); none where it needs a mask and there is none."""
        if region == "whole":
            return np.ones(self.size, dtype=bool)
        return self.mask if self.mask is None or region == "inside" else ~self.mask


@dataclass(frozen=True, eq=False)
class Batch:
    """Cases of one size as tensors."""

    source: Tensor  # (rows, 3, H, W) float64 in [0, 1]
    edited: Tensor
    region: Tensor  # (rows, 1, H, W) float64, 1 where a metric looks
    source_prompts: list[str]
    target_prompts: list[str]


def stack(cases: Sequence[Edit], region: Region) -> Batch:
    """Cases of one size, with the region that a metric looks at (they must have one)."""

    def tensor(arrays: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(arrays).astype(np.float64))

    regions = [case.region(region) for case in cases]
    assert all(r is not None for r in regions)
    return Batch(
        tensor([case.source for case in cases]).permute(0, 3, 1, 2) / 255,
        tensor([case.edited for case in cases]).permute(0, 3, 1, 2) / 255,
        tensor([r for r in regions if r is not None])[:, None],
        [case.source_prompt or "" for case in cases],
        [case.target_prompt or "" for case in cases],
    )
