"""Tokens: how one is shown, compared in constant time, and what comes of many wrong ones."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Literal
from urllib.parse import parse_qs

SHORTEST = 8  # characters of a token


@dataclass(frozen=True)
class Shown:
    """A token as somebody showed it."""

    kind: Literal["header", "cookie", "query"]
    value: str


def asked_token(headers: dict[str, list[str]], query: bytes, cookie: str) -> Shown | None:
    """The token in a request: Bearer, the password of Basic, our cookie, or ``?token=``."""
    for value in headers.get("authorization", [])[:1]:
        scheme, _, rest = value.partition(" ")
        if scheme.lower() == "bearer":
            return Shown("header", rest.strip())
        if scheme.lower() == "basic":
            try:
                text = base64.b64decode(rest.strip(), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                return Shown("header", "")
            return Shown("header", text.partition(":")[2])
    try:
        jar = SimpleCookie("; ".join(headers.get("cookie", [])))
    except CookieError:
        jar = SimpleCookie()
    if cookie in jar:
        return Shown("cookie", jar[cookie].value)
    given = parse_qs(query.decode("latin-1")).get("token")
    return Shown("query", given[0]) if given else None


def sign(token: str) -> str:
    """What the cookie holds: it tells nobody the token."""
    return hmac.new(token.encode(), b"noisespace cookie", hashlib.sha256).hexdigest()


def verify(shown: Shown, token: str) -> bool:
    """Whether it is the token; the time it takes says nothing of how much of it was right."""
    right = sign(token) if shown.kind == "cookie" else token
    return hmac.compare_digest(shown.value.encode(), right.encode())


class Failures:
    """Wrong tokens by client: after ``most`` in a minute it has to wait. Bounded in memory."""

    def __init__(self, most: int = 20, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._seen: OrderedDict[str, list[float]] = OrderedDict()

    def too_many(self, client: str) -> bool:
        recent = [t for t in self._seen.get(client, ()) if t > self._clock() - 60]
        return len(recent) >= self._most

    def add(self, client: str) -> None:
        times = self._seen.setdefault(client, [])
        times.append(self._clock())
        del times[: -self._most]
        self._seen.move_to_end(client)
        while len(self._seen) > 4096:
            self._seen.popitem(last=False)
