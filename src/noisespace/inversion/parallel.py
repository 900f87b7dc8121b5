"""Time-parallel work: with the path known, every step's mean is independent of the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from noisespace.code import Code
from noisespace.denoiser import Denoiser, Text
from noisespace.errors import InputError
from noisespace.guidance import guided
from noisespace.parts import batch_rows, fitted, in_batches
from noisespace.step import posterior

Progress = Callable[[int, int], None]  # done, total


def freeze(
    denoise: Denoiser, code: Code, text: Text, null: Text, progress: Progress | None = None
) -> Code:
    """The code with its residuals: ``path[i+1] - mean_i(path[i])`` for every step that will run.

    arXiv 2304.06140, Alg. 1, all network evaluations in a few large batches over (step, image).
    ``text``, ``null``: one row an image.
    """
    steps, images = len(code.path) - 1, code.path.shape[1]
    states, nexts = code.path[:-1].flatten(0, 1), code.path[1:].flatten(0, 1)
    out, evaluate = torch.empty_like(states), fitted(denoise)

    def residuals(rows: Tensor) -> None:
        image, first = rows % images, code.first + rows // images
        at, to = code.grid.level(first), code.grid.level(first + 1)
        w = torch.full((len(rows),), code.guidance, dtype=torch.float64)
        predict = guided(evaluate, null.rows(image), w, code.rule)
        mean, _ = posterior(predict(states[rows], at, text.rows(image)), at, to, code.eta)
        out[rows] = nexts[rows] - mean
        if progress:
            progress(int(rows[-1]) // images + 1, steps)

    in_batches(residuals, len(states), batch_rows(states, 2 if code.guidance != 1 else 1))
    if not torch.isfinite(out).all():
        raise InputError("the network returned NaN or infinity while inverting: use float32")
    return replace(code, residual=out.view_as(code.path[1:]))
