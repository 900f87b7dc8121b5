"""Where a job is worked on: a guarded model, and the inversions that are known."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image
from torch import Tensor

from noisespace.core.backbone import Denoiser
from noisespace.core.code import Code
from noisespace.core.condition import Condition
from noisespace.core.controls import HookContext
from noisespace.core.grid import Level
from noisespace.core.prediction import Prediction
from noisespace.models.base import ModelWrapper
from noisespace.pictures.describe import describe
from noisespace.planning.result import digest
from noisespace.web.cache import Codes
from noisespace.web.choices import method_of
from noisespace.web.jobs import PARTS, Cancelled, Job
from noisespace.web.limits import Limits


class TimeUp(Cancelled):
    """The job took longer than a job may."""


@dataclass(frozen=True)
class Guarded(ModelWrapper):
    """A model that asks before every evaluation of its network whether to go on."""

    watch: Callable[[], None]

    def denoise(
        self, x: Tensor, level: Level, condition: Condition, hooks: HookContext | None = None
    ) -> Prediction:
        self.watch()
        return self.model.denoise(x, level, condition, hooks)

    def begin(self) -> Denoiser:
        """A replay's denoiser, watched: that of a model that caches, where it is one."""
        loop = self.model.begin()

        def watched(
            x: Tensor, level: Level, condition: Condition, hooks: HookContext | None = None
        ) -> Prediction:
            self.watch()
            return loop(x, level, condition, hooks)

        return watched


class Cells:
    """How far a comparison is: ``count`` cells, each an inversion (unless known) and an edit."""

    def __init__(self, count: int) -> None:
        self.count, self.done = count, 0
        self._begin, self._end, self._told = 0.0, 1.0, 0

    def enter(self, stage: str) -> None:
        """A stage of the current cell begins; an inversion is taken for half of the cell."""
        if stage == "inverting":
            self._begin, self._end = 0.0, 0.5
        elif stage == "editing":
            self._begin, self._end = (0.5 if self._end == 0.5 else self._begin), 1.0

    def step(self, done: int, total: int) -> tuple[int, int]:
        """Index and total of the whole comparison, in hundredths of cells; never backwards."""
        share = self._begin + (self._end - self._begin) * done / max(total, 1)
        self._told = max(self._told, self.done * PARTS + min(int(PARTS * share), PARTS - 1))
        return self._told, self.count * PARTS

    def next(self) -> tuple[int, int]:
        """The current cell is done."""
        self.done, self._begin, self._end = self.done + 1, 0.0, 1.0
        return self.done * PARTS, self.count * PARTS


@dataclass(frozen=True)
class Desk:
    """Where one job is worked on: its guarded model, the kept codes, and whom to tell."""

    model: Any
    job: Job
    codes: Codes
    limits: Limits
    cell: Cells | None = None  # of a comparison, which counts them and not steps

    @classmethod
    def of(cls, model: Any, job: Job, codes: Codes, limits: Limits) -> Desk:
        def watch() -> None:
            if job.stopping:
                raise Cancelled
            if job.seconds > limits.job_seconds:
                raise TimeUp

        return cls(Guarded(model, watch), job, codes, limits)

    def enter(self, stage: Any) -> None:
        if self.cell is None:
            self.job.enter(stage)
        else:
            self.cell.enter(stage)

    def step(self, done: int, total: int) -> None:
        """Progress of a stage; the place where a job ends that was cancelled."""
        self.model.watch()
        if self.cell is None:
            self.job.step(done, total)
        else:
            self.job.step(*self.cell.step(done, total))


@dataclass(frozen=True)
class Known:
    """A code with its key, and whether and how long it took to invert."""

    key: str
    code: Code
    inverted: bool = False
    seconds: float = 0.0

    def told(self) -> dict[str, Any]:
        """What every outcome says of it."""
        prompts = self.code.info.prompts
        return {
            "code": self.key,
            "source": prompts[0] if prompts else "",
            "inverted": self.inverted,
            "inversion_seconds": self.seconds,
        }


def code_of(desk: Desk, request: Any) -> Known:
    """The code that a request is about: named by its key, known by its contents, or made now."""
    from noisespace.planning.settings import method_defaults

    model, owner = desk.model, desk.job.owner
    if getattr(request, "code", None):
        return Known(request.code, desk.codes.named(request.code, owner))
    method = method_of(request.method)
    defaults = method_defaults(model, method)
    w = defaults.invert if request.source_guidance is None else request.source_guidance
    asked = (request.source, describe(method), request.steps or defaults.steps, float(w))
    own = (digest(request.image), model.fingerprint, str(model.dtype))
    key = desk.codes.key((*own, *asked, request.seeds, request.size))
    if known := desk.codes.find(key, owner):
        return Known(key, known)
    desk.enter("inverting")
    start = time.perf_counter()
    code = inverted(desk, request, method)
    desk.codes.put(key, code, owner)
    return Known(key, code, True, round(time.perf_counter() - start, 3))


def inverted(desk: Desk, request: Any, method: Any) -> Code:
    """One picture inverted with every seed, as one batch; the same call as the command line's."""
    from noisespace.api import caption
    from noisespace.api import invert as invert_images
    from noisespace.models.judges.captioning import captioner_of, who

    source, writer = request.source, None
    if source.strip().lower() == "auto":
        writer = captioner_of(desk.model, None)
        source = caption(desk.model, [request.image], writer, size=request.size)[0]
    count = len(request.seeds)
    options = {"steps": request.steps, "guidance": request.source_guidance, "size": request.size}
    pictures, prompts = [request.image] * count, [source] * count
    options |= {"seed": request.seeds, "progress": desk.step}
    code = invert_images(desk.model, pictures, prompts, method, **options)
    return code.with_info(captioner="" if writer is None else who(writer))


def reconstruction(desk: Desk, known: Known, result: Any = None) -> Image.Image:
    """The first seed's replay: kept with the code, from an edit's source row, or made now."""
    from noisespace.api import reconstruct

    picture = desk.codes.replay(known.key)
    if picture is None:
        desk.enter("reconstructing")
        pictures = (
            reconstruct(desk.model, known.code).images if result is None else result.reconstruction
        )
        picture = pictures[0] if isinstance(pictures, list) else pictures
        desk.codes.keep_replay(known.key, picture)
    return picture


def operated(desk: Desk, known: Known, changes: list[Any]) -> Known:
    """A code after operations; what was done to a code before is known by its contents too."""
    from noisespace.api import freeze

    key = desk.codes.key((known.key, [describe(change) for change in changes]))
    code = desk.codes.find(key, desk.job.owner)
    if code is None:
        desk.enter("editing")
        code = freeze(desk.model, known.code, progress=desk.step)
        for change in changes:
            code = change(desk.model, code)
        desk.codes.put(key, code, desk.job.owner)
    return replace(known, key=key, code=code)
