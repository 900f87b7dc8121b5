"""The rows of a replay, and the fresh noise that some of them need."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from noisespace.code import Code
from noisespace.denoiser import Text
from noisespace.replay import Cast


def assemble(
    texts: tuple[Text, Text | None], null: Text, w: tuple[float, float], source: bool
) -> Cast:
    """The rows of a replay, image-major: the source (if wanted), then the image's targets."""
    own, targets = texts
    count = len(own)
    each = len(targets) // count if targets else 0
    both = own.cat(targets) if targets else own
    order, weights = [], []
    for i in range(count):
        rows = [i] if source else []
        rows += [count + i * each + j for j in range(each)]
        order += rows
        weights += [w[0]] * source + [w[1]] * each
    nulls = null.rows([i for i in range(count) for _ in range(each + source)])
    weight = torch.tensor(weights, dtype=torch.float64)
    return Cast(both.rows(order), nulls, weight, count, source)


def fresh_noise(code: Code, drawn: list[torch.Generator]) -> Callable[[int], Tensor] | None:
    """Fresh noise a step and row, where the code leaves rows without a correction."""
    if code.eta == 0 or code.correct == "all":
        return None
    shape, like = code.path.shape[2:], code.path

    def noise(step: int) -> Tensor:
        rows = [torch.randn(shape, generator=g, dtype=like.dtype) for g in drawn]
        return torch.stack(rows).to(like.device)

    return noise
