"""The server: the API and the page in one application, behind the guard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from noisespace.errors import InputError
from noisespace.version import VERSION
from noisespace.web.access import Access, check_access
from noisespace.web.bodies import Bodies
from noisespace.web.engine import Engine
from noisespace.web.guard import Guard
from noisespace.web.jobs import Busy, Gone
from noisespace.web.limits import MIB
from noisespace.web.routes import routes
from noisespace.web.sentences import first_error
from noisespace.web.serving import Api
from noisespace.web.strict import Strict
from noisespace.web.uploads import Uploads
from noisespace.web.watching import Log, Metrics, Watched

ABOUT = """Invert a picture once, then edit it by words.

Post a picture to `/api/uploads` (or give it as base64), post a job, ask for the job until it is
done, fetch its files. Every refusal is JSON, `{"error": "one sentence"}`. Who shares a server sends
a secret of their own as `X-Session`, so that jobs are theirs alone.
"""
Mount = Callable[[FastAPI, Engine], Any]


def create_app(
    engine: Engine,
    access: Access | None = None,
    *,
    page: Mount | None = None,
    log: Log | None = None,
) -> FastAPI:
    """The application. ``page`` mounts the page on it; without it there is the API alone.

    Raises InputError where it would serve others than this machine without a token.
    """
    access, limits = check_access(access or Access()), engine.limits
    metrics, uploads = Metrics(engine), Uploads(limits)
    engine.observers.append(metrics.observe)
    if log is not None:
        engine.observers.append(log.observe)
    app = FastAPI(
        title="noisespace",
        version=VERSION,
        description=ABOUT,
        openapi_url="/api/openapi.json",
        docs_url=None,  # its scripts come from elsewhere, and nothing is fetched from there
        redoc_url=None,
        lifespan=tidying(engine, uploads),
    )
    app.include_router(routes(Api(engine, uploads, access, metrics)))
    handle_errors(app)
    describe(app, engine, access)
    # The last one added stands first: whoever is refused is counted too, and no body was read.
    if page is not None:
        app.add_middleware(Strict, limits=limits)
    together = max(2 * limits.upload_bytes, 128 * MIB)
    app.add_middleware(Bodies, each=limits.upload_bytes * 4 // 3 + MIB, together=together)
    app.add_middleware(Guard, access=access)
    app.add_middleware(Watched, metrics=metrics, log=log)
    if page is not None:
        page(app, engine)
    return app


def tidying(engine: Engine, uploads: Uploads) -> Any:
    """While the application runs, what is too old is deleted."""
    every = min(60.0, engine.limits.lifetime / 4)

    async def tidy() -> None:
        while True:
            await asyncio.sleep(every)
            uploads.expire()
            engine.tidy()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(tidy())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.to_thread(engine.close, 10.0)

    return lifespan


def handle_errors(app: FastAPI) -> None:
    """Every refusal as {"error": sentence}."""

    def problem(status: int, text: str, **headers: str) -> JSONResponse:
        return JSONResponse({"error": text}, status, headers or None)

    async def bad(request: Request, error: Exception) -> JSONResponse:
        return problem(400, str(error))

    async def gone(request: Request, error: Exception) -> JSONResponse:
        return problem(404, str(error))

    async def busy(request: Request, error: Exception) -> JSONResponse:
        status = 429 if getattr(error, "yours", False) else 503
        return problem(status, str(error), **{"Retry-After": "10"})

    async def invalid(request: Request, error: Any) -> JSONResponse:
        return problem(422, first_error(error.errors()))

    async def http(request: Request, error: Any) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)

    app.add_exception_handler(InputError, bad)
    app.add_exception_handler(Gone, gone)
    app.add_exception_handler(Busy, busy)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(ValidationError, invalid)
    app.add_exception_handler(HTTPException, http)


SCHEMES = {name: {"type": "http", "scheme": name} for name in ("bearer", "basic")}


def describe(app: FastAPI, engine: Engine, access: Access) -> None:
    """Puts this server's own limits, and how its token is shown, into its description."""
    make, limits = app.openapi, engine.limits
    own = {
        "variants": ("maximum", min(64, limits.variants)),
        "steps": ("maximum", min(1000, limits.steps)),
        "combos": ("maxItems", min(64, limits.combos)),
        "image": ("maxLength", limits.upload_bytes * 4 // 3 + 100),
        "mask_image": ("maxLength", limits.upload_bytes * 4 // 3 + 100),
    }

    def described() -> dict[str, Any]:
        schema = make()
        for part in schema["components"]["schemas"].values():
            for name, field in part.get("properties", {}).items():
                if name in own and not part.get("title", "").endswith("Answer"):
                    key, value = own[name]
                    kinds = field.get("anyOf", [field])
                    for one in kinds:
                        if one.get("type") in ("integer", "string", "array"):
                            one[key] = value
        if access.token is not None:
            schema["components"]["securitySchemes"] = SCHEMES
            schema["security"] = [{name: []} for name in SCHEMES]
            schema["paths"]["/healthz"]["get"]["security"] = []
        return schema

    app.openapi = described  # FastAPI's way of changing it
