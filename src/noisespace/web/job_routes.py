"""The HTTP API of jobs: asked for, waited for, cancelled, their files fetched.

Annotations are not strings here: FastAPI reads those of functions inside functions.
"""

import asyncio
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response

from noisespace.pictures.metadata import png_bytes
from noisespace.web import answers as a
from noisespace.web.jobs import Gone, Job
from noisespace.web.serving import FILE, LONGEST_WAIT, PNG, ZIP, Api, Id, Index
from noisespace.web.zips import result_zip


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

    @router.get("/api/jobs/{id}/zip", responses=ZIP, **tagged)
    def packed(id: Id, owner: Annotated[str, who]) -> Response:
        """All that the job made: pictures with their records, the records, the code."""
        result = finished(engine.job(id, owner))
        try:
            code = None if result.code is None else engine.code(result.code, owner)
        except Gone:  # no longer kept; the rest still is
            code = None
        named = {"content-disposition": 'attachment; filename="result.zip"'}
        return Response(result_zip(result, code), media_type="application/zip", headers=named)

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
