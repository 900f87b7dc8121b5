"""Embeddings tuned along a pivot: the engine of null-text, prompt tuning and their ablations."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from noisespace.core.backbone import Mixing
from noisespace.core.condition import Condition
from noisespace.core.controls import HookContext
from noisespace.core.grid import Level
from noisespace.core.prediction import Prediction
from noisespace.core.transition import renoise
from noisespace.errors import InputError
from noisespace.inversion.problem import Problem
from noisespace.inversion.tuning.recompute import recomputing
from noisespace.inversion.tuning.solvers import (
    Memory,
    Residual,
    Solved,
    Solver,
    adam,
    damping,
    gauss_newton,
    gradient,
    mean_square,
    usual_iterations,
)

Part = Literal["null", "text"]


@dataclass(frozen=True)
class Tuning:
    """What is tuned and how. ``part``: the null or the text embedding; ``w``: for which guidance.

    ``iterations``: None is the solver's usual number; ``rate`` and ``stop`` give Adam's rate and
    the loss that is small enough, at each step k.
    """

    part: Part
    w: float
    iterations: int | None
    solver: Solver
    rate: Callable[[int], float]
    stop: Callable[[int], float]

    def count(self, k: int, steps: int) -> int:
        """The iterations of step k of ``steps``."""
        return (
            usual_iterations(self.solver, k, steps) if self.iterations is None else self.iterations
        )

    def start(self, problem: Problem) -> Condition:
        """The text that is tuned, as it is before."""
        text = problem.null if self.part == "null" else problem.text
        if text.embedding.shape[1] == 0:
            raise InputError(
                "there are zero tokens to tune: the model is unconditional; "
                "use ddim, edict or edit-friendly"
            )
        return text

    def other(self, problem: Problem) -> Condition:
        return problem.text if self.part == "null" else problem.null

    def mix(
        self, mixing: Mixing, tuned: Prediction, other: Prediction, x: Tensor, level: Level
    ) -> Prediction:
        """Guidance of both predictions at x, by the model's own mixing."""
        null, text = (tuned, other) if self.part == "null" else (other, tuned)
        return mixing(null, text, self.w, x, level)


def residual_of(problem: Problem, tuning: Tuning, k: int, x: Tensor, target: Tensor) -> Residual:
    """How far step k from x (b, c, h, w) under a tuned embedding ends from ``target``.

    The prediction that does not depend on the embedding is computed once.
    """
    at, to = problem.grid.level(k), problem.grid.level(k + 1)
    text, other = tuning.start(problem), tuning.other(problem)
    with torch.no_grad():
        fixed = problem.denoise(x, at, other)

    def residual(theta: Tensor, rows: Tensor) -> Tensor:
        def mixed(
            x: Tensor, level: Level, condition: Condition, hooks: HookContext | None = None
        ) -> Prediction:
            tuned, i = problem.denoise(x, level, condition, hooks), rows.cpu()
            # a score's gradient by the state needs both
            known = not x.requires_grad
            under = fixed.rows(rows) if known else problem.denoise(x, level, other.rows(i))
            return tuning.mix(problem.model.mixing, tuned, under, x, level)

        predict = problem.model.guide(mixed)
        prediction = predict(x[rows], at, text.rows(rows.cpu()).with_text(theta))
        return renoise(prediction, to) - target[rows]

    return residual


def recomputing_tuning(
    problem: Problem, tuning: Tuning, wanted: bool | None
) -> AbstractContextManager[None]:
    """Gradient checkpointing while a tuning runs: ``wanted``, or None where memory is short."""

    def attempt() -> None:
        # one gradient of the whole batch; of which step, and how far off, makes no difference
        residual = residual_of(problem, tuning, 0, problem.x0, problem.x0)
        theta = tuning.start(problem).embedding.to(problem.x0)
        gradient(residual, theta, torch.arange(len(theta), device=theta.device))

    idle = tuning.iterations == 0
    return recomputing(problem.network, False if idle else wanted, attempt)


def tune_steps(problem: Problem, tuning: Tuning, pivot: Tensor) -> Tensor:
    """One embedding a step (arXiv 2211.09794, Alg. 1), each starting where the last one ended.

    ``pivot`` (n + 1, b, c, h, w). Returns (n, b, l, d). The state goes on from where the tuned step
    ended, so that later steps correct what earlier ones left. Goes on from ``problem.checkpoint``
    where an interrupted run left something there.
    """
    n, b = len(problem.grid), len(problem.x0)
    theta, x = tuning.start(problem).embedding.to(problem.x0).clone(), pivot[0]
    found, memory, lost = [], Memory(), 0
    if kept := problem.checkpoint.load():
        kept = {name: value.to(x) for name, value in kept.items()}
        found, theta, x = list(kept["found"]), kept["found"][-1], kept["x"]
        memory.square = kept.get("square")
    every = torch.arange(b, device=x.device)
    for k in range(len(found), n):
        residual = residual_of(problem, tuning, k, x, pivot[k + 1])
        solved = solve(tuning, k, n, residual, theta, memory)
        theta, lost = solved.theta, lost + int(solved.diverged.sum())
        left = solved.residual
        if left is None:
            with torch.no_grad():
                left = residual(theta, every)
        x = left + pivot[k + 1]
        if not torch.isfinite(x).all():
            raise InputError(
                f"the network returned NaN or infinity while tuning (step {k + 1} of {n}): "
                "use float32, or a smaller guidance"
            )
        found.append(theta)
        problem.tell(k + 1, n, f"loss {float(mean_square(left).mean()):.1e}")
        state = {"found": torch.stack(found), "x": x}
        if memory.square is not None:
            state["square"] = memory.square
        problem.checkpoint.save(state)
    warn_of_divergence(lost)
    return torch.stack(found)


def solve(
    tuning: Tuning, k: int, steps: int, residual: Residual, theta: Tensor, memory: Memory
) -> Solved:
    """The tuned embedding of step k of ``steps``."""
    count = tuning.count(k, steps)
    if tuning.solver == "gauss-newton":
        held = damping(k, steps)
        return gauss_newton(residual, theta, count, tuning.stop(k), memory, held)
    return adam(residual, theta, count, tuning.rate(k), tuning.stop(k))


def tune_globally(problem: Problem, tuning: Tuning, pivot: Tensor) -> Tensor:
    """One embedding for all steps: ``iterations`` passes along the pivot, one update a step.

    The ablation of arXiv 2211.09794, sec. 4: the state is replayed under the embedding as it is.
    Returns (n, b, l, d), all steps equal.
    """
    n, b = len(problem.grid), len(problem.x0)
    theta, every = tuning.start(problem).embedding.to(problem.x0).clone(), torch.arange(b)
    moments, lost = Moments.like(theta), 0
    turns = tuning.count(0, n)
    for turn in range(turns):
        x, total = pivot[0], 0.0
        for k in range(n):
            residual = residual_of(problem, tuning, k, x, pivot[k + 1])
            left, loss, slope = gradient(residual, theta, every.to(x.device))
            theta, fell = moments.update(theta, slope, tuning.rate(0))
            x, total, lost = left + pivot[k + 1], total + float(loss.mean()), lost + fell
        problem.tell(turn + 1, turns, f"loss {total / n:.1e}")
    warn_of_divergence(lost)
    return theta.expand(n, -1, -1, -1).clone()


def tune_noisings(problem: Problem, tuning: Tuning, share: bool) -> Tensor:
    """Without a pivot: x_t is a fresh noising of x0 at every iteration, the loss that of eps.

    ``share``: one embedding for all steps, which are drawn at random, each image's from its own
    generator (arXiv 2208.01618): in order it would be tuned to the last ones. Returns (n, b, l, d).
    """
    n, b = len(problem.grid), len(problem.x0)
    text, other = tuning.start(problem), tuning.other(problem)
    theta = text.embedding.to(problem.x0).clone()
    found, every, moments = [], torch.arange(b, device=theta.device), Moments.like(theta)
    lost = 0
    for k in range(n):
        moments = moments if share else Moments.like(theta)
        for _ in range(tuning.count(k, n)):
            at = problem.grid.level(random_steps(problem) if share else k)
            alpha, sigma = at.amplitudes(problem.x0)
            noise = problem.noise(1)[0]
            x = alpha * problem.x0 + sigma * noise

            def residual(theta: Tensor, rows: Tensor, x=x, at=at, noise=noise) -> Tensor:
                fixed = problem.denoise(x, at, other) if tuning.w != 1 else None
                tuned = problem.denoise(x, at, text.with_text(theta))
                mixed = tuned
                if fixed is not None:
                    mixed = tuning.mix(problem.model.mixing, tuned, fixed, x, at)
                return mixed.eps - noise

            _, loss, slope = gradient(residual, theta, every)
            theta, fell = moments.update(theta, slope, tuning.rate(0 if share else k))
            lost += fell
            problem.tell(k + 1, n, f"loss {float(loss.mean()):.1e}")
        found.append(theta)
    warn_of_divergence(lost)
    return torch.stack([theta] * n if share else found)


def random_steps(problem: Problem) -> Tensor:
    """A step of the grid for each image, (b,)."""
    n = len(problem.grid)
    return torch.tensor([int(torch.randint(n, (), generator=g)) for g in problem.generators])


@dataclass
class Moments:
    """Adam's, where each update is of another loss."""

    first: Tensor
    second: Tensor
    count: int = 0

    @classmethod
    def like(cls, theta: Tensor) -> Moments:
        return cls(torch.zeros_like(theta), torch.zeros_like(theta))

    def update(self, theta: Tensor, slope: Tensor, rate: float) -> tuple[Tensor, int]:
        """The next theta, and how many images kept theirs since their gradient is no number."""
        sound = torch.isfinite(slope).all(-1, keepdim=True).all(-2, keepdim=True)
        slope = torch.where(sound, slope, 0.0)
        self.count += 1
        self.first = 0.9 * self.first + 0.1 * slope
        self.second = 0.999 * self.second + 0.001 * slope**2
        mean = self.first / (1 - 0.9**self.count)
        spread = self.second / (1 - 0.999**self.count)
        moved = theta - rate * mean / (spread.sqrt() + 1e-8)
        return torch.where(sound, moved, theta), int((~sound).sum())


def warn_of_divergence(lost: int) -> None:
    """Warns that an optimisation diverged."""
    if lost:
        warnings.warn(
            f"the optimisation diverged {lost} times; the best embeddings were kept: "
            "use a smaller lr, or solver gauss-newton",
            stacklevel=3,
        )
