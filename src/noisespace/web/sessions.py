"""Whose a request is: people who share a server do not see each other's jobs."""

from __future__ import annotations

import hashlib
import secrets

from fastapi import Request, Response

from noisespace.errors import InputError
from noisespace.web.access import Access

COOKIE = "noisespace_session"
HEADER = "X-Session"
SHORTEST, LONGEST = 16, 200


def owner_of(request: Request, response: Response, access: Access) -> str:
    """The owner that a request speaks for: nobody else can name it.

    A program sends a secret of its own as ``X-Session``, a browser the cookie that it was given.
    Who sends neither is one person on a server for this machine alone, and somebody new on others,
    and where a token is asked for: a proxy may then stand before it, for many.
    """
    secret = request.headers.get(HEADER) or request.cookies.get(COOKIE)
    if secret is None:
        if access.local and access.token is None:
            return "local"
        secret = secrets.token_urlsafe(24)
        safe = request.url.scheme == "https"
        response.set_cookie(COOKIE, secret, httponly=True, samesite="strict", secure=safe)
    if not SHORTEST <= len(secret) <= LONGEST:
        raise InputError(f"{HEADER} must be a secret of {SHORTEST} to {LONGEST} characters")
    return hashlib.sha256(secret.encode()).hexdigest()
