"""The sessions of all visitors, each found again by the secret that its browser keeps."""

from __future__ import annotations

import secrets
import threading
import time

from noisespace.web.session import Session


class Visitors:
    """Sessions by the secret that each browser keeps, so that a reload finds its own again.

    Those that were away for ``lifetime`` seconds, or longest where there are too many, are closed.
    """

    def __init__(self, lifetime: float, most: int = 64) -> None:
        self._lifetime, self._most = lifetime, most
        self._kept: dict[str, Session] = {}
        self._lock = threading.Lock()

    def session(self, visitor: str) -> Session:
        """The session of a secret; a new one where there is none."""
        with self._lock:
            session = self._kept.get(visitor) or Session(visitor)
            session.used, session.readmit = time.monotonic(), self.readmit
            self._kept[visitor] = session
        self.expire()
        return session

    def readmit(self, session: Session) -> None:
        """Keeps a session that was closed while its page was open: it has files again."""
        with self._lock:
            if all(session is not one for one in self._kept.values()):
                taken = session.owner in self._kept  # by the same visitor's page after a reload
                name = secrets.token_hex(16) if taken else session.owner
                self._kept[name] = session

    def forget(self, visitor: str) -> None:
        """Closes a session that cannot be shown any more."""
        with self._lock:
            session = self._kept.pop(visitor, None)
        if session is not None:
            session.close()

    def expire(self) -> None:
        """Closes those that were away for a lifetime, or longest where there are too many."""
        now = time.monotonic()
        with self._lock:
            idle = sorted((one.used, name) for name, one in self._kept.items() if one.job is None)
            many = len(self._kept) - self._most
            gone = [
                self._kept.pop(name)
                for at, (used, name) in enumerate(idle)
                if now - used > self._lifetime or at < many
            ]
        for session in gone:
            session.close()
