"""What gradio would do for a client and this server does not: fetch a URL, fill disk or memory."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from noisespace.errors import InputError
from noisespace.pictures.decode import FORMATS
from noisespace.web.folders import folder_size, upload_folder
from noisespace.web.guard import App, Message, Receive, Scope, Send, headers_of, respond
from noisespace.web.limits import Limits
from noisespace.web.multipart import parts_of
from noisespace.web.paints import check_head

PREFIX = "/gradio_api/"
LINK = re.compile(r"\s*([a-zA-Z][a-zA-Z0-9+.-]+:|//)")
# All that the page needs of gradio's routes; what else gradio has (or will have) is not there.
READ = re.compile(r"(app_id|info|queue/data|startup-events|theme\.css|upload_progress)/?")
READ_UNDER = ("file=", "heartbeat/")
WRITE = re.compile(r"(cancel|queue/join|reset|run/[a-zA-Z0-9_-]+)/?")
FILES = 4  # uploaded at once; the page sends one
KEPT = 20_000  # files of the page on disk
EVENT = 2 * 2**20  # bytes of a JSON body


class Strict:
    """Takes uploads apart and refuses what is no picture, before gradio looks at them.

    An event that names a URL, or a file that lies elsewhere, is refused: a file in it is {"path":
    ...} of something that was uploaded; of a URL gradio would fetch what is there, and it hands
    some paths on as they come.
    """

    def __init__(self, app: App, limits: Limits) -> None:
        self.app, self.limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or not path.startswith(PREFIX):
            await self.app(scope, receive, send)
            return
        rest, writes = path.removeprefix(PREFIX), scope["method"] not in ("GET", "HEAD", "OPTIONS")
        if rest.rstrip("/") == "upload" and writes:
            await self.upload(scope, receive, send)
        elif writes and WRITE.fullmatch(rest):
            await self.event(scope, receive, send)
        elif not writes and readable(rest):
            await self.app(scope, receive, send)
        else:
            await respond(send, 404, "there is no such thing here")

    async def upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A photo: what is none never reaches the disk."""
        count, held = await asyncio.to_thread(folder_size, upload_folder())
        if count > KEPT or held > 2 * self.limits.uploads_bytes:
            text = "the server keeps as many files as it may: try again later"
            await respond(send, 503, text)
            return
        body = await whole(receive)
        try:
            await asyncio.to_thread(self.uploaded, body, content_type(scope))
        except InputError as error:
            await respond(send, 400, str(error))
            return
        await self.app(scope, again(body, receive), send)

    def uploaded(self, body: bytes, kind: str) -> None:
        """Raises InputError for what is no upload of a photo."""
        for part in parts_of(body, kind, FILES):
            if part.file is None:
                raise InputError("an upload may hold files alone")
            if len(part.data) > self.limits.upload_bytes:
                raise InputError("the photo is larger than a photo may be here")
            check_head(part.data, "the photo", FORMATS, self.limits.pixels)

    async def event(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reads an event (its size is bounded before), looks at its files, and passes it on."""
        body = await whole(receive)
        if len(body) > EVENT:  # words, paths, strokes; much JSON would hold the server up
            await respond(send, 413, "an event is larger than any of the page's is")
            return
        try:
            foreign = bool(body) and not all(map(ours, paths_in(json.loads(body))))
        except (ValueError, RecursionError):
            await respond(send, 422, "an event must be JSON")
            return
        if foreign:
            text = "a file is uploaded here, never named by a URL or by a path of the server"
            await respond(send, 403, text)
            return
        await self.app(scope, again(body, receive), send)


def readable(rest: str) -> bool:
    """Whether the page needs what a GET asks for; a file's name is never a URL."""
    if rest.startswith("file="):
        return LINK.match(rest.removeprefix("file=")) is None
    return rest.startswith(READ_UNDER) or READ.fullmatch(rest) is not None


async def whole(receive: Receive) -> bytes:
    """A body; its size and time are bounded before it comes here."""
    parts, more = [], True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return b""
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def again(body: bytes, receive: Receive) -> Receive:
    """A body that was read, to be read once more by the application."""
    given = False

    async def message() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return message


def content_type(scope: Scope) -> str:
    return headers_of(scope).get("content-type", [""])[0]


def paths_in(value: Any) -> list[str]:
    """Every "path" in a JSON value."""
    left, found = [value], []
    while left:
        one = left.pop()
        if isinstance(one, dict):
            if isinstance(path := one.get("path"), str):
                found.append(path)
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)
    return found


def ours(path: str) -> bool:
    """Whether a path is of a file that was uploaded (or that the page has shown): no URL."""
    if not path:
        return True
    if LINK.match(path) or "\0" in path:
        return False
    return Path(path).resolve().is_relative_to(upload_folder().resolve())
