"""Imagic: the text, then the network, is fitted to one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Interval
from torch import Tensor

from noisespace.core.code import Code
from noisespace.core.condition import Condition
from noisespace.core.grid import Grid
from noisespace.inversion.problem import Defaults, Problem, Rank, Rate
from noisespace.inversion.tuning.adapter_fitting import Iterations, check_one, fit, recomputing_fit
from noisespace.models.adapters import new_adapter


@dataclass(frozen=True)
class Imagic:
    """Imagic (arXiv 2210.09276): tune the text, then the network, then go back to the text.

    The prompt of ``invert`` is the *target's*: its embedding is tuned until it describes the image,
    then the network (a low-rank adapter) under the tuned embedding, both by the loss of the
    training, on fresh noisings, with Adam. One image at a time.

    ``eta``: where an edit under the same prompt samples, from 0, the tuned embedding, to 1, the
    prompt's; ``text_iterations``: of the embedding; ``iterations``: of the network; ``text_lr``:
    Adam's rate for the embedding; ``lr``: for the network; ``rank``: of the adapter; ``recompute``
    as in ``NullText``.
    """

    eta: Annotated[float, Interval(ge=0, le=2)] = 0.7
    text_iterations: Iterations = 100
    iterations: Iterations = 300
    text_lr: Rate = 0.01
    lr: Rate = 0.001
    rank: Rank = 8
    recompute: bool | None = None

    defaults: ClassVar[Defaults] = Defaults(steps=50, invert=1.0, edit=7.5)

    def check(self, grid: Grid) -> None:
        """Every setting fits every grid."""

    def invert(self, problem: Problem) -> Code:
        check_one(problem, "imagic")
        grid = problem.grid
        adapter = new_adapter(problem.network, self.rank, problem.generators[0])
        total = self.text_iterations + self.iterations
        theta = {"text": problem.text.embedding.clone()}

        def tuned_text(parts: dict[str, Tensor]) -> Condition:
            return problem.text.with_text(parts["text"])

        counts = (self.iterations, self.lr)
        with recomputing_fit(problem, adapter, self.recompute):
            fit(problem, theta, tuned_text, (self.text_iterations, self.text_lr), (0, total))
            text = problem.text.with_text(theta["text"])
            fit(problem, adapter, lambda _: text, counts, (self.text_iterations, total))
        noise = problem.noise(1)[0]
        path = problem.noise_to_levels(0, noise[None])
        path[0] = noise  # it samples anew: nothing of the image is left in the start
        tuned = theta["text"].expand(len(grid), *theta["text"].shape).clone()
        return Code(grid, path, text=tuned, blend=self.eta, adapter=adapter, info=problem.info())
