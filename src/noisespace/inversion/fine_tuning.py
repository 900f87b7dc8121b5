"""Imagic and UniTune: the network itself is fitted to one image, through an adapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from noisespace.code import Code
from noisespace.denoiser import Text
from noisespace.errors import InputError
from noisespace.inversion.base import Defaults, Problem, check_number
from noisespace.inversion.edit_friendly import amplitudes
from noisespace.inversion.recompute import check_recompute, recomputing
from noisespace.inversion.sdedit import SDEdit
from noisespace.models.adapters import Adapter, adapting, new_adapter
from noisespace.schedule import Grid, Level


@dataclass(frozen=True)
class Imagic:
    """Imagic (arXiv 2210.09276): tune the text, then the network, then go back to the text.

    The prompt of ``invert`` is the *target's*: its embedding is tuned for ``text_iterations`` until
    it describes the image, then the network (a low-rank adapter of ``rank``) for ``iterations``
    under the tuned embedding. An edit under the same prompt samples at ``eta`` of the way back from
    the tuned embedding to the prompt's. Both by the loss of the training, on fresh noisings, with
    Adam at ``text_lr`` and ``lr``; ``recompute`` as in ``NullText``. One image at a time.
    """

    eta: float = 0.7
    text_iterations: int = 100
    iterations: int = 300
    text_lr: float = 0.01
    lr: float = 0.001
    rank: int = 8
    recompute: bool | None = None

    defaults: ClassVar[Defaults] = Defaults(steps=50, invert=1.0, edit=7.5)

    def check(self, grid: Grid) -> None:
        check_number("eta", self.eta, 0, 2)  # 0 the image, 1 the prompt
        check_counts(self.text_iterations, self.iterations, rank=self.rank)
        check_rates(self.text_lr, self.lr)
        check_recompute(self.recompute)

    def invert(self, problem: Problem) -> Code:
        check_one(problem, "imagic")
        grid, x0 = problem.grid, problem.x0
        adapter = new_adapter(problem.network, self.rank, problem.generators[0])
        total = self.text_iterations + self.iterations
        theta = {"text": problem.text.embedding.clone()}

        def tuned_text(parts: dict[str, Tensor]) -> Text:
            return problem.text.embedded(parts["text"])

        counts = (self.iterations, self.lr)
        with sparing(problem, adapter, self.recompute):
            fit(problem, theta, tuned_text, (self.text_iterations, self.text_lr), (0, total))
            text = problem.text.embedded(theta["text"])
            fit(problem, adapter, lambda _: text, counts, (self.text_iterations, total))
        noise = problem.noise(1)[0]
        alpha, sigma = amplitudes(grid, 0, x0)
        path = torch.cat([alpha * x0 + sigma * noise, x0[None]])
        path[0] = noise  # it samples anew: nothing of the image is left in the start
        tuned = theta["text"].expand(len(grid), *theta["text"].shape).clone()
        return Code(grid, path, text=tuned, blend=self.eta, adapter=adapter, info=problem.info())


@dataclass(frozen=True)
class UniTune:
    """UniTune (arXiv 2210.09477): the network is fitted to the image under its prompt, then SDEdit.

    ``iterations`` of the training's loss on fresh noisings at ``lr`` (Adam, a low-rank adapter of
    ``rank``); the edit starts from ``strength`` of the steps. In the paper the prompt of the fit is
    a rare word, which the edit's prompt then begins with. ``recompute`` as in ``NullText``. One
    image at a time.
    """

    strength: float = 0.8
    iterations: int = 128
    lr: float = 0.001
    rank: int = 8
    recompute: bool | None = None

    defaults: ClassVar[Defaults] = Defaults(steps=50, invert=1.0, edit=7.5)

    def check(self, grid: Grid) -> None:
        SDEdit(self.strength).check(grid)
        check_counts(self.iterations, rank=self.rank)
        check_rates(self.lr)
        check_recompute(self.recompute)

    def invert(self, problem: Problem) -> Code:
        check_one(problem, "unitune")
        adapter = new_adapter(problem.network, self.rank, problem.generators[0])
        counts = (self.iterations, self.lr)
        with sparing(problem, adapter, self.recompute):
            fit(problem, adapter, lambda _: problem.text, counts, (0, self.iterations))
        code = SDEdit(self.strength).invert(problem)
        return replace(code, adapter=adapter)


def fit(
    problem: Problem,
    parts: dict[str, Tensor],
    text_of: Callable[[dict[str, Tensor]], Text],
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
    problem: Problem, leaves: dict[str, Tensor], text: Text, level: Level, noise: Tensor
) -> tuple[Tensor, Sequence[Tensor]]:
    """The training's loss of one noising, and its gradients by the leaves."""
    x = level.alpha.to(noise) * problem.x0 + level.sigma.to(noise) * noise
    adapter = {} if "text" in leaves else leaves
    # the adapter stays for the way back: blocks that are recomputed there need it again
    with torch.enable_grad(), adapting(problem.network, adapter):
        loss = (problem.denoise(x, level, text).eps - noise).square().mean()
        slopes = torch.autograd.grad(loss, list(leaves.values()))
    return loss.detach(), slopes


def sparing(
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


def check_counts(*counts: int, rank: int = 1) -> None:
    """Refuses iterations that are no counts, and a rank that leaves nothing to fit."""
    for value in (*counts, rank):
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 100_000:
            raise InputError(f"iterations and rank must be whole numbers >= 0, got {value!r}")
    if rank == 0:
        raise InputError("rank 0 leaves nothing to fit: use 1 or more")


def check_rates(*rates: float) -> None:
    for value in rates:
        check_number("lr", value, 0, 10)
        if value == 0:
            raise InputError("lr must be above 0 and at most 10, got 0")
