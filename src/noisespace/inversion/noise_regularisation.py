"""pix2pix-zero's noise regularisation: predicted noise is moved towards white noise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn.functional import avg_pool2d

ROLLS = 5
CORRELATION, DIVERGENCE = 20.0, 20.0  # the published lambda_ac and lambda_kl


def whiten(eps: Tensor, iterations: int, generators: Sequence[Generator]) -> Tensor:
    """Gradient steps of arXiv 2302.03027, sec. 3.1, on predicted noise (b, c, h, w).

    Each iteration takes ``ROLLS`` steps on the autocorrelation at random shifts, over a pyramid of
    scales, and one on the divergence of each image's mean and variance from those of N(0, 1). Each
    image has its own generator, so that it does not depend on the batch.
    """
    with torch.enable_grad():
        for _ in range(iterations):
            for _ in range(ROLLS):
                x = eps.detach().requires_grad_()
                (slope,) = torch.autograd.grad(autocorrelation(x, generators), x)
                eps = eps - CORRELATION / ROLLS * slope
            x = eps.detach().requires_grad_()
            (slope,) = torch.autograd.grad(divergence(x), x)
            eps = eps - DIVERGENCE * slope
    return eps.detach()


def autocorrelation(x: Tensor, generators: Sequence[Generator]) -> Tensor:
    """Squared mean products of each channel with itself, shifted down and right; summed."""
    total = x.new_zeros(())
    while True:
        side = max(min(x.shape[-2:]) // 2, 1)
        for image, generator in zip(x, generators, strict=True):
            # never 0, which is no shift: the square of the variance instead of a correlation
            by = int(torch.randint(1, max(side, 2), (), generator=generator))
            for axis in (-2, -1):
                total = total + (image * image.roll(by, axis)).mean((-2, -1)).square().sum()
        if min(x.shape[-2:]) <= 8:
            return total
        x = avg_pool2d(x, 2)


def divergence(x: Tensor) -> Tensor:
    """var + mean^2 - 1 - log(var) of each image, summed: 0 for mean 0 and variance 1."""
    mean, var = x.mean((1, 2, 3)), x.var((1, 2, 3))
    return (var + mean**2 - 1 - (var + 1e-7).log()).sum()
