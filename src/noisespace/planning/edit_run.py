"""An edit under way: steps as they come, the result after the last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from noisespace.core.replay import EditPlan, StepRecord, replay
from noisespace.errors import InputError
from noisespace.planning.result import Result, fits_of, mask_pictures, pictures


@dataclass(frozen=True)
class Preview:
    """One executed step of a run, seen from outside."""

    index: int
    total: int
    step: StepRecord
    run: EditRun

    def preview(self) -> list[Image.Image]:
        """The clean pictures that this step predicts, at the inputs' sizes."""
        return self.run.decode(self.step.x0)


class EditRun:
    """A plan under way: iterates over its steps; ``result`` after the last, ``close`` cancels."""

    def __init__(self, plan: EditPlan, sources: Callable[[], Result] | None = None) -> None:
        """``sources`` replays the sources where no source row runs beside the targets."""
        self._plan, self._loop, self._sources = plan, replay(plan), sources
        self._model: Any = plan.model
        self._fits = fits_of(plan.code)
        self._last: StepRecord | None = None
        self._result: Result | None = None

    def __iter__(self) -> EditRun:
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

    def finish(self, progress: Callable[[int, int], None] | None = None) -> Result:
        """Runs what is left of it; ``progress(done, total)`` may raise to cancel."""
        for step in self:
            if progress:
                progress(step.index + 1, step.total)
        return self.result

    def decode(self, x: Tensor) -> list[Image.Image]:
        """The pictures of the targets (of the sources where there are no others)."""
        targets, fits = self._targets(x), self._fits
        each, shown, outside = len(targets) // len(fits), self._shown(targets), None
        if (mask := self._plan.controls.mask) is not None:
            weights = mask.expand(len(fits), each, *mask.shape[2:]).flatten(0, 1)
            outside = [(x[i // each, :1], weights[i : i + 1]) for i in shown]
        return pictures(self._model, targets[shown], [fits[i // each] for i in shown], outside)

    def _targets(self, x: Tensor) -> Tensor:
        rows = self._plan.rows
        return (x[:, 1:] if rows.source and rows.each > 1 else x).flatten(0, 1)

    def _shown(self, targets: Tensor) -> list[int]:
        return list(self._plan.shown or range(len(targets)))

    def _finish(self, x: Tensor) -> Result:
        plan, fits = self._plan, self._fits

        def sources() -> list[Image.Image]:
            if plan.rows.source or self._sources is None:
                return pictures(self._model, x[:, 0], fits)
            return self._sources().images

        targets = self._targets(x)
        shown = self._shown(targets)
        mask = mask_pictures(plan.controls.mask, fits, shown, len(targets) // len(fits))
        return Result(self.decode(x), targets[shown], dict(plan.record), mask, sources)
