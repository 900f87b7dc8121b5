"""What an inpainting network is told of an edit: where it may paint, and what stands around."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d

from noisespace.core.batching import in_parts
from noisespace.core.code import Code
from noisespace.core.condition import PAINT
from noisespace.core.rows import Rows
from noisespace.models.base import Model
from noisespace.planning.inputs import encode


def with_told_mask(model: Model, rows: Rows, code: Code, weights: Tensor) -> Rows:
    """Rows whose targets are told a mask, and the code's own picture without what is under it.

    ``weights`` (images or 1, targets or 1, 1, H, W) in [0, 1], of the latent's size or finer; from
    .5 on a place is painted. Sources are told what they were inverted under: that all may change.
    """
    height, width = code.path.shape[-2:]
    mask = (adaptive_max_pool2d(weights.flatten(0, 1), (height, width)) >= 0.5).to(code.path)
    mask = mask.unflatten(0, weights.shape[:2]).expand(rows.images, -1, -1, -1, -1)
    hidden = mask.repeat_interleave(model.factor, -1).repeat_interleave(model.factor, -2)
    pixels = in_parts(model.decode, code.path[-1], 1).clamp(-1, 1).to(hidden)
    around = encode(model, (pixels[:, None] * (1 - hidden)).flatten(0, 1))
    told = torch.cat([mask, around.unflatten(0, mask.shape[:2]).to(mask)], 2)
    told = told.expand(-1, rows.each - rows.source, -1, -1, -1)
    first = model.unpainted((height, width)).to(told).expand(rows.images, 1, -1, -1, -1)
    every = torch.cat([first, told], 1) if rows.source else told
    paint = every.flatten(0, 1)
    condition, null = (one.with_tensor(PAINT, paint) for one in (rows.condition, rows.null))
    return replace(rows, condition=condition, null=null)
