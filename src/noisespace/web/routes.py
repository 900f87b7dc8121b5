"""The HTTP API: a picture in, a job out; jobs are asked for, waited for and cancelled.

Annotations are not strings here: FastAPI reads those of functions inside functions.
"""

import asyncio
import threading
import time
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from noisespace.metadata import png_bytes
from noisespace.version import VERSION
from noisespace.web import answers as a
from noisespace.web import posted as p
from noisespace.web.engine import Engine
from noisespace.web.fields import picture_of
from noisespace.web.guard import Access
from noisespace.web.jobs import Gone, Job
from noisespace.web.sessions import owner_of
from noisespace.web.uploads import Uploads
from noisespace.web.watching import Metrics

LONGEST_WAIT = 30.0
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": a.Problem, "description": "It cannot be done: the sentence says why."},
    401: {"model": a.Problem, "description": "The server asks for a token."},
    403: {"model": a.Problem, "description": "A page of another origin asked."},
    404: {"model": a.Problem, "description": "There is no such thing, or it is another's."},
    408: {"model": a.Problem, "description": "The body took too long to arrive."},
    413: {"model": a.Problem, "description": "The body is too large."},
    422: {"model": a.Problem, "description": "The body or a parameter is none that is known."},
    429: {"model": a.Problem, "description": "As many of your jobs wait as may."},
    503: {"model": a.Problem, "description": "The server is busy: try again later."},
}
PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}}
FILE: dict[int | str, dict[str, Any]] = {200: {"content": {"application/octet-stream": {}}}}
Id = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="A job's id.")]
Index = Annotated[int, Path(ge=0, le=10_000)]


@dataclass
class Api:
    """What the routes share. ``gate``: how many pictures are decoded at a time."""

    engine: Engine
    uploads: Uploads
    access: Access
    metrics: Metrics
    gate: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(2), repr=False
    )

    def owner(self, request: Request, response: Response) -> str:
        return owner_of(request, response, self.access)

    def submit(self, body: Any, owner: str) -> a.JobAnswer:
        """A body as a job in the queue; without room it is refused before anything is decoded."""
        self.engine.room(owner)
        key = getattr(body, "upload", None)
        data = None if key is None else self.uploads.get(key, owner)
        with self.gate:
            request = p.request_of(body, data, self.engine.limits)
            return a.job_answer(self.engine.submit(request, owner, previews=False))


def routes(api: Api) -> APIRouter:
    """All routes of the API."""
    router = APIRouter(responses=REFUSALS)
    about_server(router, api)
    about_uploads(router, api)
    about_work(router, api)
    about_jobs(router, api)
    about_files(router, api)
    return router


def about_server(router: APIRouter, api: Api) -> None:
    engine = api.engine

    @router.get("/healthz", tags=["server"])
    def healthz(response: Response) -> a.Health:
        """Whether jobs are taken and done; needs no token."""
        response.status_code = 200 if engine.alive else 503
        status = "ok" if engine.alive else "down"
        return a.Health(
            status=status, version=VERSION, waiting=engine.waiting, running=engine.running
        )

    @router.get("/metrics", tags=["server"], response_class=Response, responses=TEXT)
    def metrics() -> Response:
        """Metrics for Prometheus."""
        return Response(api.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @router.get("/api/models", tags=["server"])
    def models() -> list[a.ModelAnswer]:
        """The models of this server, the default first."""
        return [
            a.ModelAnswer(
                name=name,
                fingerprint=model.fingerprint,
                resolution=model.resolution,
                has_text=model.has_text,
                defaults=dict(model.defaults),
            )
            for name, model in engine.models.items()
        ]


TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {}}}}
UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


def about_uploads(router: APIRouter, api: Api) -> None:
    limits = api.engine.limits

    @router.post("/api/uploads", status_code=201, tags=["uploads"], openapi_extra=UPLOAD)
    async def upload(request: Request, owner: Annotated[str, Depends(api.owner)]) -> a.UploadAnswer:
        """A picture file as the body; it is kept for a while, for several jobs."""
        data = await request.body()

        def look() -> tuple[int, ...]:
            with api.gate:
                return picture_of(data, limits).shape

        height, width, _ = await run_in_threadpool(look)
        key = api.uploads.put(data, owner)
        return a.UploadAnswer(upload=key, width=width, height=height, seconds=limits.lifetime)

    @router.delete("/api/uploads/{key}", status_code=204, tags=["uploads"])
    def forget(key: Id, owner: Annotated[str, Depends(api.owner)]) -> None:
        """Deletes an upload now."""
        api.uploads.delete(key, owner)


def about_work(router: APIRouter, api: Api) -> None:
    who = Depends(api.owner)

    @router.post("/api/invert", status_code=202, tags=["work"])
    def invert(body: p.InvertBody, owner: Annotated[str, who]) -> a.JobAnswer:
        """Inverts a picture; edits of it start at once afterwards."""
        return api.submit(body, owner)

    @router.post("/api/edit", status_code=202, tags=["work"])
    def edit(body: p.EditBody, owner: Annotated[str, who]) -> a.JobAnswer:
        """Edits a picture by its prompts; inverts it first unless that is done."""
        return api.submit(body, owner)

    @router.post("/api/compare", status_code=202, tags=["work"])
    def compare(body: p.CompareBody, owner: Annotated[str, who]) -> a.JobAnswer:
        """Edits a picture in several ways."""
        return api.submit(body, owner)

    @router.post("/api/attention", status_code=202, tags=["work"])
    def attention(body: p.AttentionBody, owner: Annotated[str, who]) -> a.JobAnswer:
        """Shows where the words of the source prompt look."""
        return api.submit(body, owner)

    @router.post("/api/mask", status_code=202, tags=["work"])
    def mask(body: p.MaskBody, owner: Annotated[str, who]) -> a.JobAnswer:
        """Finds a mask."""
        return api.submit(body, owner)

    @router.post("/api/operation", status_code=202, tags=["work"])
    def operation(body: p.OperationBody, owner: Annotated[str, who]) -> a.JobAnswer:
        """Changes a code: the noise maps are shifted or painted."""
        return api.submit(body, owner)


def about_jobs(router: APIRouter, api: Api) -> None:
    who, engine = Depends(api.owner), api.engine

    @router.get("/api/jobs", tags=["jobs"])
    def jobs(owner: Annotated[str, who]) -> list[a.JobAnswer]:
        """Your jobs, oldest first."""
        return [a.job_answer(job) for job in engine.jobs(owner)]

    @router.get("/api/jobs/{id}", tags=["jobs"])
    async def job(
        id: Id,
        owner: Annotated[str, who],
        wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT, allow_inf_nan=False)] = 0,
    ) -> a.JobAnswer:
        """One of your jobs; answers after ``wait`` seconds, or sooner once it is finished."""
        found, until = engine.job(id, owner), time.monotonic() + wait
        while not found.finished and time.monotonic() < until:
            await asyncio.sleep(0.05)
        return a.job_answer(found)

    @router.post("/api/jobs/{id}/cancel", tags=["jobs"])
    def cancel(id: Id, owner: Annotated[str, who]) -> a.JobAnswer:
        """Cancels a job: it stops within one step."""
        found = engine.job(id, owner)
        found.cancel()
        return a.job_answer(found)

    @router.delete("/api/jobs/{id}", status_code=204, tags=["jobs"])
    def delete(id: Id, owner: Annotated[str, who]) -> None:
        """Cancels a job and deletes what it made."""
        engine.forget(engine.job(id, owner))


def about_files(router: APIRouter, api: Api) -> None:
    who, engine = Depends(api.owner), api.engine
    tagged: dict[str, Any] = {"tags": ["results"], "response_class": Response}

    @router.get("/api/jobs/{id}/images/{index}", responses=PNG, **tagged)
    def image(id: Id, index: Index, owner: Annotated[str, who]) -> Response:
        """A picture with its record in it: from it, the picture can be made again."""
        result = finished(engine.job(id, owner))
        if index >= len(result.images):
            raise Gone(f"this job made {len(result.images)} pictures, counted from 0")
        return png(result.png(index))

    @router.get("/api/jobs/{id}/cells/{index}", responses=PNG, **tagged)
    def cell(id: Id, index: Index, owner: Annotated[str, who]) -> Response:
        """A picture of a comparison, with its record in it."""
        cells = finished(engine.job(id, owner)).cells
        if index >= len(cells) or cells[index].image is None:
            raise Gone("this comparison has no picture there")
        return png(png_bytes(cells[index].image, cells[index].record))

    @router.get("/api/jobs/{id}/code", responses=FILE, **tagged)
    def code(id: Id, owner: Annotated[str, who]) -> Response:
        """The code (safetensors): `noisespace edit` and `Code.load` take it."""
        key = finished(engine.job(id, owner)).code
        if key is None:
            raise Gone("this job has no code")
        named = {"content-disposition": 'attachment; filename="code.safetensors"'}
        data = engine.code(key, owner).to_bytes()
        return Response(data, media_type="application/octet-stream", headers=named)

    @router.get("/api/jobs/{id}/{name}", responses=PNG, **tagged)
    def named(
        id: Id,
        name: Literal["reconstruction", "mask", "preview"],
        owner: Annotated[str, who],
    ) -> Response:
        """The source's replay, the mask, or what the latest step predicts."""
        found = engine.job(id, owner)
        picture = found.preview if name == "preview" else getattr(finished(found), name)
        if picture is None:
            raise Gone(f"this job has no {name}")
        return png(png_bytes(picture))


def finished(job: Job) -> Any:
    """What a job made. Raises Gone where it is not done."""
    if job.result is None:
        raise Gone(
            f"this job is {job.state}: it has no result" + (f" ({job.error})" * bool(job.error))
        )
    return job.result


def png(data: bytes) -> Response:
    return Response(data, media_type="image/png", headers={"cache-control": "private, no-store"})
