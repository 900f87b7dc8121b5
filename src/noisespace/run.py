"""An edit under way: steps as they come, the result after the last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from noisespace.code import Code
from noisespace.errors import InputError
from noisespace.models.base import Model
from noisespace.replay import Cast, Step
from noisespace.result import Result, fits_of, pictures


@dataclass(frozen=True)
class Job:
    """What a run is about. ``kept``: which target rows become pictures."""

    model: Model
    code: Code
    cast: Cast
    kept: list[int]
    record: dict[str, Any]
    mask: Any = None  # a picture, or one for each kept row
    weights: Tensor | None = None  # of the mask, (image or 1, target or 1, 1, H, W)


@dataclass(frozen=True)
class Preview:
    """One executed step of a run, seen from outside."""

    index: int
    total: int
    step: Step
    run: Run

    def preview(self) -> list[Image.Image]:
        """The clean pictures that this step predicts, at the inputs' sizes."""
        return self.run.decode(self.step.x0)


class Run:
    """An edit under way: iterates over its steps; ``result`` after the last, ``close`` cancels."""

    def __init__(
        self, job: Job, loop: Iterator[Step], sources: Callable[[], Result] | None = None
    ) -> None:
        """``sources`` replays the sources where no source row runs beside the targets."""
        self._job, self._loop, self._sources = job, loop, sources
        self._last: Step | None = None
        self._result: Result | None = None

    def __iter__(self) -> Run:
        return self

    @torch.no_grad()
    def __next__(self) -> Preview:
        step = next(self._loop)
        if step.index + 1 == step.total:
            self._last = step
        return Preview(step.index, step.total, step, self)

    def close(self) -> None:
        """Cancels: no further step runs, and there is no result."""
        self._loop.close()  # type: ignore[attr-defined]  # replay is a generator

    @property
    def result(self) -> Result:
        """The finished Result. Raises InputError before the last step."""
        if self._last is None:
            raise InputError("the edit has no result: it was cancelled, or has steps left to run")
        if self._result is None:
            self._result = self._finish(self._last.x)
        return self._result

    def decode(self, x: Tensor) -> list[Image.Image]:
        """The pictures of the targets (of the sources where there are no others)."""
        job, fits = self._job, fits_of(self._job.code)
        targets = self._targets(x)
        each, outside = len(targets) // len(fits), None
        if job.weights is not None:
            weights = job.weights.expand(len(fits), each, *job.weights.shape[2:]).flatten(0, 1)
            outside = [(x[i // each, :1], weights[i : i + 1]) for i in job.kept]
        own = [fits[i // each] for i in job.kept]
        return pictures(job.model, targets[job.kept], own, outside)

    def _targets(self, x: Tensor) -> Tensor:
        alone = self._job.cast.rows == 1
        return (x if alone or not self._job.cast.source else x[:, 1:]).flatten(0, 1)

    def _finish(self, x: Tensor) -> Result:
        job = self._job

        def sources() -> list[Image.Image]:
            if job.cast.source or self._sources is None:
                return pictures(job.model, x[:, 0], fits_of(job.code))
            return self._sources().images

        latents = self._targets(x)[job.kept]
        return Result(self.decode(x), latents, job.record, job.mask, sources)
