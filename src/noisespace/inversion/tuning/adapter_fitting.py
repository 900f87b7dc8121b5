"""Fitting a network to an image through an adapter, by the loss of the training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor

from noisespace.core.condition import Condition
from noisespace.core.grid import Level
from noisespace.errors import InputError
from noisespace.inversion.problem import Problem
from noisespace.inversion.tuning.recompute import recomputing
from noisespace.models.adapters import Adapter, adapting

Iterations = Annotated[int, Interval(ge=0, le=100_000), "whole numbers >= 0"]


def fit(
    problem: Problem,
    parts: dict[str, Tensor],
    text_of: Callable[[dict[str, Tensor]], Condition],
    how: tuple[int, float],
    progress: tuple[int, int],
) -> None:
    """Tunes tensors in place by the loss of the training, |eps(x_t) - eps|^2, seeded.

    ``parts`` is an adapter, or {"text": embedding}; ``how``: iterations and rate; ``progress``:
    how many iterations are done already, and in all. Raises InputError where the
    loss stops being a number.
    """
    iterations, rate = how
    draw = problem.generators[0]
    fitting = Fitting(parts, rate)
    for k in range(iterations):
        level = problem.grid.level(int(torch.randint(len(problem.grid), (), generator=draw)))
        noise = problem.noise(1)[0]
        leaves = fitting.leaves
        loss, slopes = slopes_of(problem, leaves, text_of(leaves), level, noise)
        fitting.step(slopes, k)
        problem.tell(progress[0] + k + 1, progress[1], f"loss {float(loss):.1e}")
    parts.update(fitting.found())


class Fitting:
    """Adam on some tensors, of which copies are tuned (``leaves``)."""

    def __init__(self, parts: Mapping[str, Tensor], rate: float) -> None:
        self.leaves = leaves_of(parts)
        self._optimiser = torch.optim.Adam(self.leaves.values(), lr=rate)

    def step(self, slopes: Sequence[Tensor], iteration: int) -> None:
        """One update. Raises InputError where a gradient is no number."""
        if not all(torch.isfinite(slope).all() for slope in slopes):
            raise InputError(
                f"the fine-tuning diverged at iteration {iteration + 1}: use a smaller lr"
            )
        for leaf, slope in zip(self.leaves.values(), slopes, strict=True):
            leaf.grad = slope
        self._optimiser.step()

    def found(self) -> dict[str, Tensor]:
        return {name: leaf.detach() for name, leaf in self.leaves.items()}


def leaves_of(parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies that gradients are taken by."""
    return {name: part.detach().clone().requires_grad_() for name, part in parts.items()}


def slopes_of(
    problem: Problem, leaves: dict[str, Tensor], text: Condition, level: Level, noise: Tensor
) -> tuple[Tensor, Sequence[Tensor]]:
    """The training's loss of one noising, and its gradients by the leaves."""
    alpha, sigma = level.amplitudes(noise)
    x = alpha * problem.x0 + sigma * noise
    adapter = {} if "text" in leaves else leaves
    # the adapter stays for the way back: blocks that are recomputed there need it again
    with torch.enable_grad(), adapting(problem.network, adapter):
        loss = (problem.denoise(x, level, text).eps - noise).square().mean()
        slopes = torch.autograd.grad(loss, list(leaves.values()))
    return loss.detach(), slopes


def recomputing_fit(
    problem: Problem, adapter: Adapter, wanted: bool | None
) -> AbstractContextManager[None]:
    """Gradient checkpointing while a network is fitted: ``wanted``, None where memory is short."""

    def attempt() -> None:
        # by an adapter, which keeps more than a text does
        first, noise = problem.grid.level(0), torch.zeros_like(problem.x0)
        slopes_of(problem, leaves_of(adapter), problem.text, first, noise)

    return recomputing(problem.network, wanted, attempt)


def check_one(problem: Problem, name: str) -> None:
    """Refuses several images, and models that cannot be fine-tuned."""
    if len(problem.x0) != 1:
        raise InputError(
            f"{name} fits the network to one image at a time, got {len(problem.x0)}: "
            "call it once an image (and once a seed)"
        )
    if problem.text.embedding.shape[1] == 0:
        raise InputError(f"{name} needs a prompt, and this model is unconditional")
