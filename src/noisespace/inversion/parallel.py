"""Time-parallel work: with the path known, every step's mean is independent of the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from noisespace.core.batching import batch_rows, in_batches, with_batching
from noisespace.core.code import Code
from noisespace.core.condition import Condition
from noisespace.core.guidance import with_guidance
from noisespace.core.lattice import least_margin, margin, power_of_two, snap, usual_spacing
from noisespace.core.transition import posterior
from noisespace.errors import InputError
from noisespace.inversion.problem import Problem, Progress


def with_residuals(problem: Problem, code: Code, live: bool, lattice: bool) -> Code:
    """A code whose rows are corrected: on a lattice, with its residuals unless ``live``."""
    if lattice:
        network = problem.model.compute_dtype
        code = on_lattice(code, usual_spacing(code.path.dtype, network, code.guidance))
    if live:
        return code
    return freeze(problem.model, code, problem.text, problem.null, problem.progress)


def on_lattice(code: Code, spacing: float) -> Code:
    """The code with its path on a lattice, but for the image itself."""
    path = torch.cat([snap(code.path[:-1], spacing), code.path[-1:]])
    return replace(code, path=path, lattice=spacing)


def freeze(
    model: Any, code: Code, text: Condition, null: Condition, progress: Progress | None = None
) -> Code:
    """The code with its residuals: ``path[i+1] - mean_i(path[i])`` for every step that will run.

    arXiv 2304.06140, Alg. 1, all network evaluations in a few large batches over (step, image), and
    one more of every image's first state: a code's lattice is made ``MARGIN`` times as wide as the
    two means of one state differ, or wider (``HALF_MARGIN`` times for half precision). ``text``,
    ``null``: one row an image.
    """
    means = Means(model, code, text, null, progress).all()
    if not torch.isfinite(means).all():
        raise InputError("the network returned NaN or infinity while inverting: use float32")
    if not code.lattice:
        return replace(code, residual=code.path[1:] - means)
    # twice each, as an edit has a source and a target: in a batch of another shape
    again = Means(model, code, text, null).of(torch.arange(len(means[0])).repeat(2))
    rounding = torch.finfo(model.compute_dtype).eps  # of states of about unit variance
    apart = (again.unflatten(0, (2, -1)) - means[0]).abs().nan_to_num(torch.inf)
    spreads = apart.flatten(2).amax((0, 2)).clamp(min=rounding).tolist()
    wanted = power_of_two(least_margin(model.compute_dtype) * max(spreads))
    wanted = max(wanted, usual_spacing(code.path.dtype, model.compute_dtype, code.guidance))
    if code.lattice < wanted < torch.inf:
        return freeze(model, on_lattice(code, wanted), text, null, progress)
    known = code.with_info(lattice_margin=tuple(margin(code.lattice, s) for s in spreads))
    return replace(known, residual=code.path[1:] - means)


class Means:
    """The means of a code's steps from the states of its path."""

    def __init__(
        self,
        model: Any,
        code: Code,
        text: Condition,
        null: Condition,
        progress: Progress | None = None,
    ) -> None:
        self.code, self.text, self.null, self.progress = code, text, null, progress
        self.states = code.path[:-1].flatten(0, 1)
        self.model, self.denoise = model, with_batching(model.denoise)

    def all(self) -> Tensor:
        """Of all steps that run, (steps, b, c, h, w)."""
        out, (steps, images) = torch.empty_like(self.states), self.code.path.shape[:2]

        def work(rows: Tensor) -> None:
            out[rows] = self.of(rows)
            if self.progress:
                self.progress(int(rows[-1]) // images + 1, steps - 1)

        cost = 2 if self.code.guidance != 1 else 1
        in_batches(work, len(out), batch_rows(self.states, cost))
        return out.view_as(self.code.path[1:])

    def of(self, rows: Tensor) -> Tensor:
        """Of some (step, image), counted through the images of one step after the other."""
        code, images = self.code, self.code.path.shape[1]
        image, i = rows % images, code.first + rows // images
        at, to = code.grid.level(i), code.grid.level(i + 1)
        w = torch.full((len(rows),), code.guidance, dtype=torch.float64)
        null, mixing = self.null.rows(image), self.model.mixing
        guided = with_guidance(self.denoise, null, w, code.rule, mixing=mixing)
        predict = self.model.guide(guided)
        prediction = predict(self.states[rows], at, self.text.rows(image))
        return posterior(prediction, at, to, code.eta)[0]
