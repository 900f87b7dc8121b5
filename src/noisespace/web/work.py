"""What a job does: each kind of request on a guarded model, with the inversions that are known."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from noisespace.code import Code
from noisespace.denoiser import Text, Touch
from noisespace.describe import describe
from noisespace.errors import reason
from noisespace.models.base import Around
from noisespace.prediction import Prediction
from noisespace.result import digest
from noisespace.schedule import Level
from noisespace.web import requests as r
from noisespace.web.cache import Codes
from noisespace.web.choices import editor_of, mask_of, method_of
from noisespace.web.jobs import Cancelled, Job
from noisespace.web.limits import Limits
from noisespace.web.results import Cell, Outcome

PREVIEWS = 0.25  # the share of a job's time that its previews may take


class TimeUp(Cancelled):
    """The job took longer than a job may."""


@dataclass(frozen=True)
class Guarded(Around):
    """A model that asks before every evaluation of its network whether to go on."""

    watch: Callable[[], None]

    def denoise(
        self, x: Tensor, level: Level, text: Text, touch: Touch | None = None
    ) -> Prediction:
        self.watch()
        return self.model.denoise(x, level, text, touch)


@dataclass(frozen=True)
class Desk:
    """Where one job is worked on: its guarded model, the kept codes, and whom to tell."""

    model: Any
    job: Job
    codes: Codes
    limits: Limits
    quiet: bool = False  # for parts of a comparison, which counts cells and not steps

    @classmethod
    def of(cls, model: Any, job: Job, codes: Codes, limits: Limits) -> Desk:
        def watch() -> None:
            if job.stopping:
                raise Cancelled
            if job.seconds > limits.job_seconds:
                raise TimeUp

        return cls(Guarded(model, watch), job, codes, limits)

    def enter(self, stage: Any) -> None:
        if not self.quiet:
            self.job.enter(stage)

    def step(self, done: int, total: int) -> None:
        """Progress of a stage; the place where a job ends that was cancelled."""
        self.model.watch()
        if not self.quiet:
            self.job.step(done, total)


def work(desk: Desk, request: Any) -> Outcome:
    """Does a job. Raises InputError or RunError, one sentence, and Cancelled."""
    kinds: dict[type, Callable[[Desk, Any], Outcome]] = {
        r.InvertRequest: invert,
        r.EditRequest: edit,
        r.CompareRequest: compare,
        r.AttentionRequest: attention,
        r.MaskRequest: find_mask,
        r.OperationRequest: operate,
    }
    return kinds[type(request)](desk, request)


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
    from noisespace.settings import method_defaults

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
    from noisespace.models.captioning import captioner_of, who

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


def invert(desk: Desk, request: r.InvertRequest) -> Outcome:
    known = code_of(desk, request)
    back = reconstruction(desk, known)
    return Outcome("invert", reconstruction=back, **known.told())


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


def edit(desk: Desk, request: r.EditRequest) -> Outcome:
    known = code_of(desk, request)
    if request.operations:
        known = operated(desk, known, r.choices(request.operations))
    return edited(desk, known, request)


def edited(desk: Desk, known: Known, request: r.EditRequest) -> Outcome:
    """The edit of a code that is there."""
    start = time.perf_counter()
    desk.enter("editing")
    result = run(desk, known.code, request)
    seconds = round(time.perf_counter() - start, 3)
    mask = result.mask[0] if isinstance(result.mask, list) else result.mask
    return Outcome(
        "edit",
        tuple(result.images),
        tuple(result.record_of(i) for i in range(len(result.images))),
        reconstruction(desk, known, result),
        mask,
        edit_seconds=seconds,
        **known.told(),
    )


def run(desk: Desk, code: Code, request: Any) -> Any:
    """All targets of every seed, in one batch, with progress and previews."""
    from noisespace.api import edit_steps

    mask = mask_of(request.mask) if isinstance(request.mask, str) else request.mask
    options = {"guidance": request.guidance, "editor": editor_of(request.editor), "mask": mask}
    prompts = [list(request.targets)] * code.path.shape[1]
    steps = edit_steps(desk.model, code, prompts, seed=request.seed, **options)
    due = 0.0
    try:
        for step in steps:
            desk.step(step.index + 1, step.total)
            if desk.job.previews and time.perf_counter() >= due and step.index + 1 < step.total:
                start = time.perf_counter()
                desk.job.show(step.preview()[0])
                end = time.perf_counter()
                due = end + (end - start) * (1 / PREVIEWS - 1)
    finally:
        steps.close()
    return steps.result


def compare(desk: Desk, request: r.CompareRequest) -> Outcome:
    """Every combination, each an edit of its own; one that fails is a cell that says why."""
    desk.enter("editing")
    cells, first, start = [], None, time.perf_counter()
    for k, combo in enumerate(request.combos):
        asked = r.EditRequest(
            targets=(request.target,),
            mask=request.mask,
            **request.model_dump(exclude={"combos", "columns", "target", "mask", "method"}),
            **combo.model_dump(),
        )
        cell, known = trial(replace(desk, quiet=True), asked)
        cells.append(cell)
        first = first or known
        desk.step(k + 1, len(request.combos))
    told = {} if first is None else {**first.told(), "inverted": True}
    seconds = round(time.perf_counter() - start, 3)
    return Outcome(
        "compare", cells=tuple(cells), columns=request.columns, edit_seconds=seconds, **told
    )


def trial(desk: Desk, asked: r.EditRequest) -> tuple[Cell, Known | None]:
    """One combination as a cell, and its code."""
    from noisespace.study.measure import psnr

    named, start, known = (asked.method, asked.editor, asked.guidance), time.perf_counter(), None
    try:
        known = code_of(desk, asked)
        result = run(desk, known.code, asked)
    except Cancelled:
        raise
    except Exception as error:  # one combination's failure must not lose the others
        return Cell(*named, error=reason(error)), known
    picture, seconds = result.images[0], round(time.perf_counter() - start, 3)
    figure = round(psnr(picture, asked.image), 2)
    return Cell(*named, picture, result.record_of(0), figure, seconds), known


def attention(desk: Desk, request: r.AttentionRequest) -> Outcome:
    """The attention of words, as maps and drawn over the picture."""
    from noisespace.api import attention_maps
    from noisespace.sheet import heat

    known = code_of(desk, request)
    desk.enter("editing")
    found = attention_maps(desk.model, known.code, list(request.words) or None)
    below = original(desk, known, request)
    maps = tuple(m.float().cpu().numpy() for m in found.maps[0])
    drawn = tuple(Image.fromarray(heat(below, m)) for m in maps)
    return Outcome("attention", drawn, words=found.words[0], maps=maps, **known.told())


def original(desk: Desk, known: Known, request: Any) -> np.ndarray:
    """The picture that a code is of: the one given, or the code's own replay."""
    return request.image if request.image is not None else np.asarray(reconstruction(desk, known))


def find_mask(desk: Desk, request: r.MaskRequest) -> Outcome:
    """The mask that DiffEdit or a word's attention finds, of the picture's size."""
    from noisespace.editing import Brief
    from noisespace.models.adapters import adapted
    from noisespace.prepare import embed, fitting, sources
    from noisespace.result import mask_pictures

    known = code_of(desk, request)
    desk.enter("editing")
    code = fitting(desk.model, known.code)
    text, null = sources(desk.model, code)
    count = code.path.shape[1]
    targets = embed(desk.model, [request.target] * count)
    model = adapted(desk.model, code)
    brief = Brief.of(model, code, (text, targets, null), (code.guidance, code.guidance))
    weights = mask_of(request.mask).mask(brief)
    found = mask_pictures(weights, code, list(range(count)), 1)
    return Outcome("mask", mask=found[0] if isinstance(found, list) else found, **known.told())


def operate(desk: Desk, request: r.OperationRequest) -> Outcome:
    """Operations on a code: a new code, and its replay."""
    known = code_of(desk, request)
    start = time.perf_counter()
    changes = [
        o.choice() if isinstance(o, r.Paint) else operation_of(o) for o in request.operations
    ]
    changed = operated(desk, known, changes)
    back = reconstruction(desk, changed)
    seconds = round(time.perf_counter() - start, 3)
    return Outcome("operation", reconstruction=back, edit_seconds=seconds, **changed.told())


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


def noted(desk: Desk, request: Any, alone: Any) -> Outcome:
    """``work``, with the library's own warnings as the outcome's notes.

    ``alone``: a lock held whenever the process's filters of warnings are set or set back, so that
    whoever else does so for a moment is nested inside, never across.
    """
    caught = warnings.catch_warnings(record=True)
    with alone:
        said = caught.__enter__()
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=UserWarning)
    try:
        outcome = work(desk, request)
    finally:
        with alone:
            caught.__exit__(None, None, None)
    texts = [" ".join(str(w.message).split()) for w in said or () if w.category is UserWarning]
    return replace(outcome, notes=tuple(dict.fromkeys(texts)))
