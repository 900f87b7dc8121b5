"""What the routes of the API share."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Header, Path, Request, Response

from noisespace.web import answers as a
from noisespace.web import posted as p
from noisespace.web.access import Access
from noisespace.web.engine import Engine
from noisespace.web.sessions import HEADER, LONGEST, SHORTEST, owner_of
from noisespace.web.uploads import Uploads
from noisespace.web.watching import Metrics

LONGEST_WAIT = 30.0  # seconds
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
ZIP: dict[int | str, dict[str, Any]] = {200: {"content": {"application/zip": {}}}}
Id = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="A job's id.")]
# Only described here: `owner_of` reads it, and says in a sentence what is wrong with it.
Secret = Annotated[
    str | None,
    Header(
        alias=HEADER,
        description="A secret of your own: whose the jobs, uploads and codes are.",
        json_schema_extra={"minLength": SHORTEST, "maxLength": LONGEST},
    ),
]
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

    def owner(self, request: Request, response: Response, session: Secret = None) -> str:
        return owner_of(request, response, self.access)

    def submit(self, body: Any, owner: str) -> a.JobAnswer:
        """A body as a job in the queue; without room it is refused before anything is decoded."""
        self.engine.room(owner)
        key = getattr(body, "upload", None)
        data = None if key is None else self.uploads.get(key, owner)
        with self.gate:
            request = p.request_of(body, data, self.engine.limits)
            return a.job_answer(self.engine.submit(request, owner, previews=False))
