"""The HTTP API: a picture in, a job out.

Annotations are not strings here: FastAPI reads those of functions inside functions.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool

from noisespace.version import VERSION
from noisespace.web import answers as a
from noisespace.web import posted as p
from noisespace.web.fields import picture_of
from noisespace.web.job_routes import about_files, about_jobs
from noisespace.web.serving import REFUSALS, Api, Id


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
