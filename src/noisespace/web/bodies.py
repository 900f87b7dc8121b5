"""Bodies of requests, bounded while they come in, whatever the application makes of them."""

from __future__ import annotations

import asyncio
import time

from noisespace.web.guard import App, Message, Receive, Scope, Send, headers_of, respond


class Bodies:
    """Bounds bodies while they come in: one of them, all of them together, and their time."""

    def __init__(self, app: App, each: int, together: int, seconds: float = 60.0) -> None:
        self.app, self.each, self.together, self.seconds = app, each, together, seconds
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        told = headers_of(scope).get("content-length", ["0"])[0]
        if told.isascii() and told.isdigit() and len(told) < 20 and int(told) > self.each:
            await respond(send, *self.too_large())
            return
        body = Body(self, receive, time.monotonic() + self.seconds)
        begun = False

        async def noticed(message: Message) -> None:
            nonlocal begun
            if body.refusal is None or begun:  # else the application's answer is to half a body
                begun = True
                await send(message)

        try:
            await self.app(scope, body.receive, noticed)
        except Refused:
            if begun:
                raise
        finally:
            self.held -= body.size
        if body.refusal is not None and not begun:
            await respond(send, *body.refusal)

    def too_large(self) -> tuple[int, str]:
        return 413, f"the request is larger than {self.each / 2**20:.1f} MiB, the limit"


class Refused(Exception):  # noqa: N818
    """Ends the reading of a body beyond a bound; what is answered stands in the body."""


class Body:
    """One body as it comes in. ``refusal``: the status and sentence once it is beyond a bound."""

    def __init__(self, bounds: Bodies, receive: Receive, until: float) -> None:
        self._bounds, self._receive, self._until = bounds, receive, until
        self.size, self.refusal, self._ended = 0, None, False

    async def receive(self) -> Message:
        """The next message. Raises Refused beyond a bound."""
        if self._ended:
            return await self._receive()  # a disconnection, whenever it comes
        try:
            left = max(0.01, self._until - time.monotonic())
            message = await asyncio.wait_for(self._receive(), left)
        except asyncio.TimeoutError:
            raise self._refuse(408, "the body took too long to arrive") from None
        part = len(message.get("body", b""))
        self.size, self._bounds.held = self.size + part, self._bounds.held + part
        self._ended = not message.get("more_body", False)
        if self.size > self._bounds.each:
            raise self._refuse(*self._bounds.too_large())
        if self._bounds.held > self._bounds.together:
            raise self._refuse(503, "too many uploads at once: try again in a minute")
        return message

    def _refuse(self, status: int, text: str) -> Refused:
        self.refusal = (status, text)
        return Refused(text)
