"""Imagic: the text, then the network, is fitted to one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from noisespace.core.code import Code
from noisespace.core.condition import Condition
from noisespace.core.grid import Grid
from noisespace.inversion.problem import Defaults, Problem, check_number
from noisespace.inversion.tuning.adapter_fitting import (
    check_counts,
    check_one,
    check_rates,
    fit,
    sparing,
)
from noisespace.inversion.tuning.recompute import check_recompute
from noisespace.models.adapters import new_adapter


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
        grid = problem.grid
        adapter = new_adapter(problem.network, self.rank, problem.generators[0])
        total = self.text_iterations + self.iterations
        theta = {"text": problem.text.embedding.clone()}

        def tuned_text(parts: dict[str, Tensor]) -> Condition:
            return problem.text.with_text(parts["text"])

        counts = (self.iterations, self.lr)
        with sparing(problem, adapter, self.recompute):
            fit(problem, theta, tuned_text, (self.text_iterations, self.text_lr), (0, total))
            text = problem.text.with_text(theta["text"])
            fit(problem, adapter, lambda _: text, counts, (self.text_iterations, total))
        noise = problem.noise(1)[0]
        path = problem.noised(0, noise[None])
        path[0] = noise  # it samples anew: nothing of the image is left in the start
        tuned = theta["text"].expand(len(grid), *theta["text"].shape).clone()
        return Code(grid, path, text=tuned, blend=self.eta, adapter=adapter, info=problem.info())
