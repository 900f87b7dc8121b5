"""The answers of the HTTP API, as models that its description shows."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from noisespace.web.jobs import Job
from noisespace.web.results import Cell, Outcome


class Problem(BaseModel):
    """Why something was not done, in one sentence."""

    error: str


class Health(BaseModel):
    """``ok`` while jobs are taken and done."""

    status: str
    version: str
    waiting: int
    running: bool


class ModelAnswer(BaseModel):
    """One of the server's models."""

    name: str
    fingerprint: str
    resolution: int
    has_text: bool
    defaults: dict[str, Any]


class UploadAnswer(BaseModel):
    """An upload: its key, its size, and the seconds for which it is kept."""

    upload: str
    width: int
    height: int
    seconds: float


class PictureAnswer(BaseModel):
    """A picture's address (a PNG with its record in it) and the record."""

    url: str
    record: dict[str, Any] | None = None


class CellAnswer(BaseModel):
    """One setting of a comparison, with its picture or its error."""

    method: str
    editor: str | None
    guidance: float | None
    url: str | None
    psnr_input: float | None
    seconds: float | None
    error: str | None


class ResultAnswer(BaseModel):
    """What a job made; addresses are relative to the server."""

    images: list[PictureAnswer]
    reconstruction: str | None
    mask: str | None
    code: str | None
    code_url: str | None
    zip_url: str
    source: str
    inverted: bool
    inversion_seconds: float
    edit_seconds: float
    words: list[str]
    cells: list[CellAnswer]
    columns: int
    notes: list[str]


class JobAnswer(BaseModel):
    """A job: waiting at ``position``, running at ``index`` of ``total`` steps, or finished.

    The steps of a comparison (stage ``comparing``) are hundredths of its cells.
    """

    id: str
    kind: str
    state: str
    stage: str
    position: int
    index: int
    total: int
    seconds: float
    eta: float | None
    error: str | None
    result: ResultAnswer | None


def job_answer(job: Job) -> JobAnswer:
    """A job as it is now."""
    view = job.view()
    return JobAnswer(
        id=job.id,
        kind=job.kind,
        state=view.state,
        stage=view.stage,
        position=view.position,
        index=view.index,
        total=view.total,
        seconds=round(view.seconds, 3),
        eta=None if view.eta is None else round(view.eta, 1),
        error=view.error,
        result=None if job.result is None else result_answer(job.result, f"/api/jobs/{job.id}"),
    )


def result_answer(outcome: Outcome, base: str) -> ResultAnswer:
    """A result with the addresses of its files under its job's."""
    records = outcome.records or (None,) * len(outcome.images)
    pictures = [
        PictureAnswer(url=f"{base}/images/{i}", record=record) for i, record in enumerate(records)
    ]
    return ResultAnswer(
        images=pictures,
        reconstruction=None if outcome.reconstruction is None else f"{base}/reconstruction",
        mask=None if outcome.mask is None else f"{base}/mask",
        code=outcome.code,
        code_url=None if outcome.code is None else f"{base}/code",
        zip_url=f"{base}/zip",
        source=outcome.source,
        inverted=outcome.inverted,
        inversion_seconds=outcome.inversion_seconds,
        edit_seconds=outcome.edit_seconds,
        words=list(outcome.words),
        cells=[cell_answer(cell, f"{base}/cells/{i}") for i, cell in enumerate(outcome.cells)],
        columns=outcome.columns,
        notes=list(outcome.notes),
    )


def cell_answer(cell: Cell, url: str) -> CellAnswer:
    return CellAnswer(
        method=cell.method,
        editor=cell.editor,
        guidance=cell.guidance,
        url=None if cell.image is None else url,
        psnr_input=cell.psnr_input,
        seconds=cell.seconds,
        error=cell.error,
    )
