"""DiffusionCLIP: the network is fitted until the picture changes as the words did."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Interval
from torch import Tensor

from noisespace.core.code import Code
from noisespace.core.condition import Condition
from noisespace.core.grid import Grid
from noisespace.core.prediction import Prediction
from noisespace.core.transition import renoise
from noisespace.errors import InputError
from noisespace.inversion.ascent import climb, explicit_ascent
from noisespace.inversion.problem import Defaults, Problem, Rank, Rate, Strength
from noisespace.inversion.sdedit import SDEdit
from noisespace.inversion.tuning.adapter_fitting import Fitting, Iterations, leaves_of
from noisespace.inversion.tuning.recompute import recomputing
from noisespace.models.adapters import Adapter, adapting, new_adapter
from noisespace.models.judges.alignment import Alignment, alignment_of


@dataclass(frozen=True)
class DiffusionCLIP:
    """DiffusionCLIP (arXiv 2110.02711), with any alignment model in CLIP's place.

    The images climb by DDIM, then a low-rank adapter is fitted in descents of long steps: at every
    one the predicted clean pictures are pulled by the directional loss (eq. 9), 1 minus the cosine
    of their change and that of the prompts, and held by their L1 distance to the images (their
    memory-saving variant, appendix B). One adapter serves all images of a batch. It acts on edits
    alone: the reconstruction is the network's own.

    ``target``: the prompt to fit to, which the edit is then called with; ``source``: what the
    images show, by default their prompt; ``alignment``: "alignment" is the model's own, else the
    folder or Hub id of a CLIP, or an ``ns.Alignment``; ``strength``: the share of the steps that
    the images climb; ``iterations``: descents of the fit; ``descent``: the steps of each;
    ``identity``: the weight of the distance to the images; ``lr``: Adam's rate; ``rank``: of
    the adapter; ``recompute`` as in ``NullText``.
    """

    target: str
    source: str | None = None
    alignment: Any = "alignment"
    strength: Strength = 0.6
    iterations: Iterations = 12
    descent: Annotated[int, Interval(ge=1, le=100_000), "at least 1 step"] = 6
    identity: Annotated[float, Interval(ge=0, le=1e6)] = 0.3
    lr: Rate = 0.003
    rank: Rank = 8
    recompute: bool | None = None

    defaults: ClassVar[Defaults] = Defaults(steps=50, invert=1.0, edit=1.0)

    def check(self, grid: Grid) -> None:
        SDEdit(self.strength).check(grid)
        if not self.target.strip():
            raise InputError(f"diffusion-clip needs target=..., a prompt; got {self.target!r}")
        if not isinstance(self.alignment, (str, Alignment)):
            raise InputError(
                'alignment must be "alignment", a CLIP\'s folder or Hub id, or an ns.Alignment; '
                f"got {self.alignment!r}"
            )

    def invert(self, problem: Problem) -> Code:
        judge = self.alignment
        if isinstance(judge, str):
            judge = alignment_of(judge, problem.model)
        prompts = [self.source or prompt for prompt in problem.text.prompts]
        if not all(prompts):
            raise InputError("diffusion-clip needs the images' prompts, or source=...")
        if self.target in prompts:
            raise InputError(
                f"diffusion-clip: the target {self.target!r} is the source too: nothing to fit"
            )
        adapter = new_adapter(problem.network, self.rank, problem.generators[0])
        quiet = replace(problem, progress=None)
        first = len(problem.grid) - round(self.strength * len(problem.grid))
        path = climb(quiet, first, explicit_ascent(quiet, "lower"))
        model, targets = problem.model, [self.target] * len(prompts)
        text = model.embed(targets if model.has_text else [""] * len(prompts))
        words = judge.prompts(prompts), judge.prompts(targets)
        aim = Aim(judge, model.decode(problem.x0), *words, text, self.identity)
        self.fit(problem, path, adapter, aim)
        info = problem.info(adapts="targets")
        return Code(problem.grid, path, adapter=adapter, info=info)

    def fit(self, problem: Problem, path: Tensor, adapter: dict[str, Tensor], aim: Aim) -> None:
        """Fits the adapter in place."""
        grid, count = problem.grid, len(problem.x0)
        fitting = Fitting(adapter, self.lr)
        first = len(grid) + 1 - len(path)
        stops = torch.linspace(first, len(grid), min(self.descent, len(path) - 1) + 1).round()
        ways = list(pairwise(stops.int().tolist()))
        with sparing(problem, aim, path[0], adapter, self.recompute):
            for turn in range(self.iterations):
                x, total = path[0], 0.0
                for start, end in ways:
                    loss, slopes, prediction = aim.slopes(problem, fitting.leaves, x, start)
                    fitting.step(slopes, turn)
                    total += loss / count
                    x = renoise(prediction, grid.level(end))
                problem.tell(turn + 1, self.iterations, f"loss {total / len(ways):.3f}")
        adapter.update(fitting.found())


@dataclass(frozen=True)
class Aim:
    """Where predicted pictures are pulled: from ``pixels`` and ``sources`` to ``targets``.

    The prompts are embedded, as they are the same at every step of the fit.
    """

    judge: Alignment
    pixels: Tensor
    sources: Tensor
    targets: Tensor
    text: Condition
    identity: float

    def loss(self, shown: Tensor) -> Tensor:
        """Summed over the images, so that one does not weigh less in a batch."""
        away = 1 - self.judge.direction(shown, self.pixels, self.targets, self.sources)
        held = (shown - self.pixels).abs().mean((1, 2, 3))
        return (away + self.identity * held).sum()

    def slopes(
        self, problem: Problem, leaves: Adapter, x: Tensor, i: int
    ) -> tuple[float, Sequence[Tensor], Prediction]:
        """The loss at level i, its gradients by the leaves, and the prediction."""
        # the adapter stays for the way back: blocks that are recomputed there need it again
        with torch.enable_grad(), adapting(problem.network, leaves):
            predict = problem.model.guide(problem.denoise)
            prediction = predict(x, problem.grid.level(i), self.text)
            loss = self.loss(problem.model.decode(prediction.x0))
            slopes = torch.autograd.grad(loss, list(leaves.values()))
        return float(loss.detach()), slopes, prediction.map(prediction, lambda a, _: a.detach())


def sparing(
    problem: Problem, aim: Aim, x: Tensor, adapter: Adapter, wanted: bool | None
) -> AbstractContextManager[None]:
    """Gradient checkpointing during the fit: ``wanted``, None where memory is short."""
    first = len(problem.grid) - 1
    return recomputing(
        problem.network, wanted, lambda: aim.slopes(problem, leaves_of(adapter), x, first)
    )
