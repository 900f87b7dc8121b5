"""Metrics on pictures' values: functions of two pictures (rows, 3, H, W) in [0, 1] to (rows,)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from noisespace.bench.weights import UnavailableError

MS_SSIM_SMALLEST = 176  # px: at the fifth scale, a sixteenth, the window's 11 px must fit


def masked_mean(x: Tensor, region: Tensor) -> Tensor:
    """The mean (rows,) of maps (rows, channels, H, W) over a region (rows, 1, H, W) of 0 and 1."""
    weights = region.to(x).expand_as(x)
    return (x * weights).sum((1, 2, 3)) / weights.sum((1, 2, 3))


def mse(x: Tensor, y: Tensor, region: Tensor | None = None) -> Tensor:
    """The mean squared difference over all channels, of values in [0, 1]."""
    squared = (x - y).square()
    return squared.mean((1, 2, 3)) if region is None else masked_mean(squared, region)


def psnr(x: Tensor, y: Tensor, region: Tensor | None = None) -> Tensor:
    """10 log10(1 / MSE), in dB; infinite where the pictures are equal."""
    return -10 * torch.log10(mse(x, y, region))


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004): torchmetrics' with its defaults.

    A Gaussian window of 11 px and sigma 1.5, each channel by itself, pictures mirrored at the edge.
    """
    return (
        _torchmetrics()
        .structural_similarity_index_measure(x, y, data_range=1.0, reduction="none")
        .reshape(len(x))
    )


def ssim_map(x: Tensor, y: Tensor, region: Tensor) -> Tensor:
    """The mean of SSIM's map over a region; over all pixels it is SSIM.

    A pixel's value depends on a window of 11 px, so that a change next to the region is seen too.
    """
    _, full = _torchmetrics().structural_similarity_index_measure(
        *_single(x, y), data_range=1.0, reduction="none", return_full_image=True
    )
    return masked_mean(full, region)


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Multi-scale SSIM (Wang et al. 2003) over the five standard scales: torchmetrics'.

    Undefined where a side is below 176 px.
    """
    return (
        _torchmetrics()
        .multiscale_structural_similarity_index_measure(x, y, data_range=1.0, reduction="none")
        .reshape(len(x))
    )


def _single(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """In float32, as published figures are: ten times as fast here, and right to some 2e-5."""
    return x.float(), y.float()


def _torchmetrics() -> Any:
    try:
        import torchmetrics.functional.image as module
    except ImportError:
        raise UnavailableError(
            "torchmetrics is missing: run `pip install noisespace[metrics]`"
        ) from None
    return module
