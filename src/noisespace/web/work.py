"""What a job does: each kind of request on a guarded model, with the inversions that are known."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from noisespace.core.code import Code
from noisespace.errors import reason
from noisespace.web import requests as r
from noisespace.web.choices import editor_of, mask_of
from noisespace.web.desk import Cells, Desk, Known, code_of, operated, reconstruction
from noisespace.web.jobs import Cancelled
from noisespace.web.results import Cell, Outcome

PREVIEWS = 0.25  # the share of a job's time that its previews may take


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


def invert(desk: Desk, request: r.InvertRequest) -> Outcome:
    known = code_of(desk, request)
    back = reconstruction(desk, known)
    return Outcome("invert", reconstruction=back, **known.told())


def edit(desk: Desk, request: r.EditRequest) -> Outcome:
    return edited(desk, changed(desk, request), request)


def changed(desk: Desk, request: Any) -> Known:
    """The code that an edit begins with: inverted, and after its operations."""
    known = code_of(desk, request)
    if request.operations:
        known = operated(desk, known, r.choices(request.operations))
    return known


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
    desk.enter("comparing")
    cells, first, start = [], None, time.perf_counter()
    progress = Cells(len(request.combos))
    within = replace(desk, cell=progress)
    for combo in request.combos:
        asked = r.EditRequest(
            targets=(request.target,),
            mask=request.mask,
            **request.model_dump(exclude={"combos", "columns", "target", "mask", "method"}),
            **combo.model_dump(),
        )
        cell, known = trial(within, asked)
        cells.append(cell)
        first = first or known
        desk.step(*progress.next())
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
        known = changed(desk, asked)
        desk.enter("editing")
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
    from noisespace.pictures.sheet import heat

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
    from noisespace.editing import EditContext
    from noisespace.models.adapters import with_adapter
    from noisespace.planning.inputs import embed
    from noisespace.planning.plan import fit_code, source_conditions
    from noisespace.planning.result import fits_of, mask_pictures
    from noisespace.system.fields import check_fields

    known = code_of(desk, request)
    desk.enter("editing")
    code = fit_code(desk.model, known.code)
    count = code.path.shape[1]
    text, null = source_conditions(desk.model, code.info, count)
    targets = embed(desk.model, [request.target] * count)
    model = with_adapter(desk.model, code.adapter)
    context = EditContext(model, code, text, targets, null, (code.guidance, code.guidance))
    finder = mask_of(request.mask)
    check_fields(finder)
    weights = finder.mask(context)
    found = mask_pictures(weights, fits_of(code), range(count), 1)
    return Outcome("mask", mask=found[0] if isinstance(found, list) else found, **known.told())


def operate(desk: Desk, request: r.OperationRequest) -> Outcome:
    """Operations on a code: a new code, and its replay."""
    known = code_of(desk, request)
    start = time.perf_counter()
    changes = r.choices(request.operations)
    changed = operated(desk, known, changes)
    back = reconstruction(desk, changed)
    seconds = round(time.perf_counter() - start, 3)
    return Outcome("operation", reconstruction=back, edit_seconds=seconds, **changed.told())
