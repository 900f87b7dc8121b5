"""Tokens: how one is shown, compared in constant time, and what comes of many wrong ones."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Literal
from urllib.parse import parse_qs

SHORTEST = 8  # characters of a token
SECRET = secrets.token_bytes(32)


@dataclass(frozen=True)
class Shown:
    """A token as somebody showed it."""

    kind: Literal["header", "cookie", "query"]
    value: str


def asked_tokens(headers: dict[str, list[str]], query: bytes, cookie: str) -> list[Shown]:
    """The tokens in a request: our cookie, Bearer or the password of Basic, and ``?token=``.

    All of them, since a browser goes on sending an old cookie beside a link with the new token.
    """
    found: list[Shown] = []
    try:
        jar = SimpleCookie("; ".join(headers.get("cookie", [])))
    except CookieError:
        jar = SimpleCookie()
    if cookie in jar:
        found.append(Shown("cookie", jar[cookie].value))
    for value in headers.get("authorization", [])[:1]:
        scheme, _, rest = value.partition(" ")
        if scheme.lower() == "bearer":
            found.append(Shown("header", rest.strip()))
        if scheme.lower() == "basic":
            try:
                text = base64.b64decode(rest.strip(), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                text = ""
            found.append(Shown("header", text.partition(":")[2]))
    given = parse_qs(query.decode("latin-1")).get("token", [])
    return [*found, *(Shown("query", one) for one in given[:1])]


def sign(token: str) -> str:
    """What the cookie holds: it tells nobody the token, and who only guesses it cannot make one.

    Of this process alone: after a restart the token is asked for again.
    """
    return hmac.new(SECRET, token.encode(), hashlib.sha256).hexdigest()


def verify(shown: Shown, token: str) -> bool:
    """Whether it is the token; the time it takes says nothing of how much of it was right."""
    right = sign(token) if shown.kind == "cookie" else token
    return hmac.compare_digest(shown.value.encode(), right.encode())


class Once:
    """A key that lets one in, once and soon: for the browser that the server opens itself.

    The token in a browser's command line could be read there by everybody on the machine.
    """

    def __init__(self, seconds: float = 120, clock: Callable[[], float] = time.monotonic) -> None:
        self._key, self._seconds, self._clock = "", seconds, clock
        self._until = 0.0

    def key(self) -> str:
        """A new key; the one before counts no more."""
        self._key, self._until = secrets.token_urlsafe(24), self._clock() + self._seconds
        return self._key

    def take(self, shown: Shown) -> bool:
        """Whether it is the key, which then is none any more."""
        right = bool(self._key) and shown.kind == "query" and self._clock() < self._until
        if not right or not hmac.compare_digest(shown.value.encode(), self._key.encode()):
            return False
        self._key = ""
        return True


class Failures:
    """Wrong tokens by client: after ``most`` in a minute it has to wait. Bounded in memory.

    After ``together`` of all clients, everybody has to: an address can be changed, or made up.
    """

    def __init__(
        self, most: int = 20, clock: Callable[[], float] = time.monotonic, together: int = 200
    ) -> None:
        self._most, self._clock = most, clock
        self._seen: OrderedDict[str, list[float]] = OrderedDict()
        self._all: deque[float] = deque(maxlen=together)

    def too_many(self, client: str) -> bool:
        since = self._clock() - 60
        if len(self._all) == self._all.maxlen and self._all[0] > since:
            return True
        return sum(t > since for t in self._seen.get(client, ())) >= self._most

    def add(self, client: str) -> None:
        times = self._seen.setdefault(client, [])
        times.append(self._clock())
        self._all.append(times[-1])
        del times[: -self._most]
        self._seen.move_to_end(client)
        while len(self._seen) > 4096:
            self._seen.popitem(last=False)
