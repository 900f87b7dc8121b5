"""Least squares over an embedding, every image of a batch for itself.

The unknown ``theta`` (b, l, d) is a null or text embedding, the residual (b, c, h, w) how far the
state after one step is from its pivot. Only embeddings are differentiated; weights never are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

# (theta of some images, which images) -> their residuals
Residual = Callable[[Tensor, Tensor], Tensor]
Solver = Literal["gauss-newton", "adam"]

DIVERGED = 100.0  # times the first loss
DAMPING = 4.0  # at the first step


@dataclass
class Solved:
    """``theta`` (b, l, d) and its ``loss`` (b,); ``history`` (evaluations, b) of losses on the way.

    ``diverged`` (b,): images whose loss rose without bound, of which the best value was kept;
    ``residual`` (b, c, h, w) at theta, where the solver knows it.
    """

    theta: Tensor
    loss: Tensor
    history: Tensor
    diverged: Tensor
    residual: Tensor | None = None


def usual_iterations(solver: str, k: int, steps: int) -> int:
    """How many iterations step k takes where nobody says: 10 of Adam's, as published.

    Gauss-Newton takes one in the first 80 % of the steps and five in the others: later steps
    correct what earlier ones left, so that the end decides how near the image comes.
    """
    if solver == "adam":
        return 10
    return 1 if k < 0.8 * steps else 5


def damping(k: int, steps: int) -> float:
    """How strongly Gauss-Newton's step k is held back, relative to its curvature.

    Undamped, it reconstructs as well and edits 1 dB worse than Adam: the embedding goes farther
    than the residual is worth. Early steps set an edit's layout; the last ones are left free.
    """
    return DAMPING * (1 - k / steps)


def mean_square(residual: Tensor) -> Tensor:
    """The loss of each image, (b,)."""
    return residual.square().flatten(1).mean(1)


def gradient(residual: Residual, theta: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Residuals, losses and their gradients by theta of some images."""
    with torch.enable_grad():
        x = theta[rows].detach().requires_grad_()
        r = residual(x, rows)
        loss = mean_square(r)
        (slope,) = torch.autograd.grad(loss.sum(), x)
    return r.detach(), loss.detach(), slope


def adam(residual: Residual, theta: Tensor, iterations: int, rate: float, stop: float) -> Solved:
    """Adam as in the null-text code (arXiv 2211.09794): fresh moments, stop after a small loss.

    Each image stops by itself: after the update whose loss was below ``stop``.
    """
    b, theta = len(theta), theta.clone()
    first, second = torch.zeros_like(theta), torch.zeros_like(theta)
    loss, best = theta.new_full((b,), torch.inf), theta.clone()
    least, start, history = loss.clone(), None, []
    diverged = torch.zeros(b, dtype=torch.bool, device=theta.device)
    rows = torch.arange(b, device=theta.device)
    for i in range(iterations):
        _, now, slope = gradient(residual, theta, rows)
        loss[rows] = now
        history.append(loss.clone())
        start = loss.clone() if start is None else start
        better = rows[now < least[rows]]
        best[better], least[better] = theta[better], loss[better]
        lost = ~(now <= DIVERGED * start[rows].clamp(min=1e-12))  # NaN too
        diverged[rows[lost]] = True
        first[rows] = 0.9 * first[rows] + 0.1 * slope
        second[rows] = 0.999 * second[rows] + 0.001 * slope**2
        mean, spread = first[rows] / (1 - 0.9 ** (i + 1)), second[rows] / (1 - 0.999 ** (i + 1))
        theta[rows] -= rate * mean / (spread.sqrt() + 1e-8)
        rows = rows[(now >= stop) & ~lost]
        if len(rows) == 0:
            break
    theta[diverged] = best[diverged]
    loss = torch.where(diverged, least, loss)
    seen = torch.stack(history) if history else loss[None]
    return Solved(theta, loss, seen, diverged)


@dataclass
class Memory:
    """What Gauss-Newton carries from step to step: each entry's running mean square gradient."""

    square: Tensor | None = None

    def down(self, slope: Tensor, going: Tensor) -> Tensor:
        """Against the gradient, each entry scaled by its own usual size; length 1.

        Remembers the gradients of images that are still ``going`` (b,), so that what an image gets
        does not depend on the others.

        A power of .5 would be Adam's scaling, 0 the plain gradient; .75 left the smallest residuals
        on held-out scenes.
        """
        new = slope.nan_to_num() ** 2
        old = new if self.square is None else self.square
        fresh = old.flatten(1).amax(1) == 0  # nothing remembered yet
        grown = pick(fresh, new, 0.9 * old + 0.1 * new)
        self.square = pick(going, grown, torch.zeros_like(old) if self.square is None else old)
        tiny = torch.finfo(slope.dtype).tiny
        typical = self.square.mean((1, 2), keepdim=True).clamp(min=tiny)
        down = -slope.nan_to_num() / (self.square / typical + 1e-3) ** 0.75
        return down / down.flatten(1).norm(dim=1).clamp(min=tiny)[:, None, None]


def gauss_newton(
    residual: Residual,
    theta: Tensor,
    iterations: int,
    stop: float,
    memory: Memory,
    held: float = 0.0,
) -> Solved:
    """Levenberg-Marquardt in the span of the scaled gradients of this step, damped by ``held``.

    One iteration: residual and gradient (a forward and a backward pass), the image of the new
    direction under the Jacobian by a finite difference (a forward pass), and the least squares
    problem in the few directions known. A step is kept only where it lowers the loss, else it is
    cut to a quarter; a last forward pass judges the last step. Images below ``stop`` stay where
    they are.
    """
    rows = torch.arange(len(theta), device=theta.device)
    best, least = theta.clone(), theta.new_full((len(theta),), torch.inf)
    trial, step, at, history = theta, torch.zeros_like(theta), None, []
    directions: list[Tensor] = []
    images: list[Tensor] = []
    reach = 2e-3 * theta.flatten(1).norm(dim=1).clamp(min=1e-3)[:, None, None]
    for _ in range(iterations):
        r, loss, slope = gradient(residual, trial, rows)
        better = loss < least
        best, least = pick(better, trial, best), pick(better, loss, least)
        at = r if at is None else pick(better, r, at)
        history.append(least)
        going = least >= stop
        if not going.any():
            break
        directions.append(memory.down(slope, going))
        with torch.no_grad():
            moved = residual(trial + reach * directions[-1], rows)
        # a trial that left the numbers gives no direction
        images.append(((moved - r) / reach[..., None]).nan_to_num(0.0, 0.0, 0.0))
        step = pick(better, combine(directions, images, at, held), step / 4)
        trial = pick(going, best + step, best)
    else:
        with torch.no_grad():
            r = residual(trial, rows)
        loss = mean_square(r)
        better = loss < least
        best, least = pick(better, trial, best), pick(better, loss, least)
        at = r if at is None else pick(better, r, at)
        history.append(least)
    return Solved(best, least, torch.stack(history), ~least.isfinite(), at)


def pick(which: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Image by image, a where ``which`` (b,), else b."""
    return torch.where(which.view(-1, *[1] * (a.ndim - 1)), a, b)


def combine(
    directions: list[Tensor], images: list[Tensor], at: Tensor, held: float = 0.0
) -> Tensor:
    """argmin over the span of |residual + sum_i c_i J d_i|^2, as the step sum_i c_i d_i.

    Plus ``held`` times the mean curvature times |sum_i c_i d_i|^2.
    """
    # float64, which MPS lacks; NaN is said by whoever looks at the state
    wide = torch.device("cpu") if at.device.type == "mps" else at.device
    a, d = (
        torch.stack([x.flatten(1) for x in some], -1).to(wide, torch.float64)
        for some in (images, directions)
    )
    gram, right = a.mT @ a, a.mT @ at.flatten(1)[..., None].to(wide, torch.float64).nan_to_num()
    # directions have length 1, so that this is curvature by squared length
    curvature = gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    gram = gram + held * curvature * (d.mT @ d)
    weights = -(torch.linalg.pinv(gram, rtol=1e-6, hermitian=True) @ right)[..., 0]
    step = torch.zeros_like(directions[0])
    for i, direction in enumerate(directions):
        step += weights[:, i, None, None].to(direction) * direction
    return step
