"""What gradio would do for a client and this server does not: fetch a URL, fill the disk."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from noisespace.web.guard import App, Message, Receive, Scope, Send, respond

PREFIX = "/gradio_api/"
LINK = re.compile(r"\s*([a-zA-Z][a-zA-Z0-9+.-]*:|//)")


class Strict:
    """Refuses, before gradio looks at it, an event that names a URL, and uploads beyond a bound.

    A file in an event is {"path": ...} of something that was uploaded; of a URL gradio would fetch
    what is there. ``most``: bytes that all files of the page may take on disk together.
    """

    def __init__(self, app: App, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or not path.startswith(PREFIX):
            await self.app(scope, receive, send)
        elif path.startswith(f"{PREFIX}proxy="):
            await respond(send, 404, "nothing is fetched from elsewhere")
        elif path.startswith(f"{PREFIX}upload") and folder_bytes(upload_folder()) > self.most:
            await respond(send, 503, "the server keeps as many files as it may: try again later")
        elif scope["method"] != "POST" or path.startswith(f"{PREFIX}upload"):
            await self.app(scope, receive, send)
        elif path.rstrip("/") == f"{PREFIX}component_server" and multipart(scope):
            await self.app(scope, receive, send)  # paint of the mask editor: pixels, no event
        else:
            await self.event(scope, receive, send)

    async def event(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reads an event (its size is bounded before), looks for URLs, and passes it on."""
        parts, more = [], True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        body = b"".join(parts)
        try:
            links = has_links(json.loads(body)) if body else False
        except (ValueError, RecursionError):
            await respond(send, 422, "an event must be JSON")
            return
        if links:
            await respond(send, 403, "a file is uploaded here, never named by a URL")
            return
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, again, send)


def multipart(scope: Scope) -> bool:
    """Whether a request's body is a form with files."""
    headers = dict(scope.get("headers", ()))
    return headers.get(b"content-type", b"").startswith(b"multipart/form-data")


def has_links(value: Any) -> bool:
    """Whether any "path" in a JSON value is a URL."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            path = one.get("path")
            if isinstance(path, str) and LINK.match(path):
                return True
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)
    return False


def upload_folder() -> Path:
    """Where gradio keeps files."""
    return Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio")


def folder_bytes(folder: Path) -> int:
    """The bytes of all files under a folder."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(root) / name).stat().st_size
            except OSError:  # deleted just now
                continue
    return total
