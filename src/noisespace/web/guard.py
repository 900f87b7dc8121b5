"""What stands before the application: who may ask at all, decided before a body is read.

Pure ASGI, so that nothing is buffered: a foreign Host gets 400, a foreign Origin 403, a missing
token 401 and a body beyond its bound 413, each as a sentence.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from noisespace.web.access import Access, same_place
from noisespace.web.tokens import Failures, asked_tokens, sign, verify

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "noisespace_token"
# Gradio's page has scripts and styles of its own inside the page, and blobs of what it shows.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


def headers_of(scope: Scope) -> dict[str, list[str]]:
    """Header values by lower-case name."""
    found: dict[str, list[str]] = {}
    for name, value in scope.get("headers", ()):
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


class Guard:
    """Refuses what comes from elsewhere or without the token, and adds the security headers."""

    def __init__(self, app: App, access: Access) -> None:
        self.app, self.access, self.failures = app, access, Failures()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = with_defaults(message.get("headers", []))
            await send(message)

        headers = headers_of(scope)
        refusal = self.refusal(scope, headers)
        if refusal is None and self.access.token is not None:
            refusal = self.identify(scope, headers)
        if refusal is None:
            await self.app(scope, receive, guarded)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal[1]})
        else:
            await respond(guarded, *refusal)

    def refusal(self, scope: Scope, headers: dict[str, list[str]]) -> tuple | None:
        """(status, sentence) for a foreign Host or Origin."""
        hosts, origins = headers.get("host", []), headers.get("origin", [])
        if len(hosts) != 1 or not self.access.allows(hosts[0]):
            return 400, "this Host is not known here (a proxy must pass it on; see --allow-host)"
        if len(origins) > 1 or (origins and not same_place(origins[0], hosts[0])):
            return 403, "this request was made by a page of another origin"
        safe = scope["type"] == "http" and scope["method"] in ("GET", "HEAD", "OPTIONS")
        if not safe and "cross-site" in headers.get("sec-fetch-site", []):
            return 403, "this request was made by a page of another site"
        return None

    def identify(self, scope: Scope, headers: dict[str, list[str]]) -> tuple | None:
        """(status, sentence[, headers]) for who has not shown the token."""
        token, client = self.access.token or "", (scope.get("client") or ("",))[0]
        if scope["type"] == "http" and scope["path"] == "/healthz":
            return None
        shown = asked_tokens(headers, scope.get("query_string", b""), COOKIE)
        # Nobody guesses the cookie: so who has it is not shut out by others of a proxy.
        known = any(one.kind == "cookie" and verify(one, token) for one in shown)
        if not known and self.failures.too_many(client):
            return 429, "too many wrong tokens: wait a minute", [(b"retry-after", b"60")]
        tried = [one for one in shown if one.kind != "cookie"]
        right = [one for one in tried if verify(one, token) or self.access.once.take(one)]
        if right and right[0].kind == "query":
            # A link with the token is for once: from now on a cookie that no script can read. Lax,
            # so that a link on another site's page works too; writes are guarded by their Origin.
            cookie = f"{COOKIE}={sign(token)}; Path=/; HttpOnly; SameSite=Lax"
            cookie += "; Secure" if scope.get("scheme") == "https" else ""
            there = [(b"location", b"/"), (b"set-cookie", cookie.encode())]
            return 303, "go on", there
        if known or right:
            return None
        if tried:  # an old cookie is no guess
            self.failures.add(client)
        ask = [(b"www-authenticate", b'Basic realm="noisespace", charset="UTF-8"')]
        return 401, "this server asks for a token (as Bearer, or as the password of any user)", ask


def with_defaults(headers: Any) -> list[tuple[bytes, bytes]]:
    """Response headers with the security headers that are not there."""
    given = list(headers)
    there = {name.lower() for name, _ in given}
    more = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in there]
    return [*given, *more]


async def respond(send: Send, status: int, text: str, headers: Any = ()) -> None:
    """A small JSON answer: {"error": sentence}."""
    body = json.dumps({"error": text}).encode()
    own = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    # What was sent and not read would be taken for the next request: close the connection.
    own.append((b"connection", b"close"))
    start = {"type": "http.response.start", "status": status, "headers": [*own, *headers]}
    await send(start)
    await send({"type": "http.response.body", "body": body})
