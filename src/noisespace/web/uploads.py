"""Uploaded pictures, in memory for a while: nothing is written to disk under a client's name."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from noisespace.web.jobs import Gone
from noisespace.web.limits import Limits


@dataclass(frozen=True)
class Upload:
    """The bytes of a picture file, whose they are, and when they go."""

    data: bytes
    owner: str
    until: float


class Uploads:
    """Uploads by keys that cannot be guessed; the oldest go first, bounded in number and bytes."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._kept: OrderedDict[str, Upload] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            self._expire()
            return len(self._kept)

    def put(self, data: bytes, owner: str) -> str:
        """Keeps a file that has been looked at; returns its key."""
        key = secrets.token_hex(16)
        with self._lock:
            self._expire()
            self._kept[key] = Upload(data, owner, self._clock() + self._limits.lifetime)
            while len(self._kept) > 1 and (
                len(self._kept) > self._limits.uploads or self._bytes() > self._limits.uploads_bytes
            ):
                self._kept.popitem(last=False)
        return key

    def get(self, key: str, owner: str) -> bytes:
        """The bytes of an owner's upload. Raises Gone for one that is gone or another's."""
        with self._lock:
            self._expire()
            upload = self._kept.get(key)
        if upload is None or upload.owner != owner:
            raise Gone("there is no such upload (any more): send the picture again")
        return upload.data

    def delete(self, key: str, owner: str) -> None:
        """Deletes an owner's upload now."""
        self.get(key, owner)
        with self._lock:
            self._kept.pop(key, None)

    def expire(self) -> None:
        """Deletes what is too old."""
        with self._lock:
            self._expire()

    def _expire(self) -> None:
        now = self._clock()
        for key in [k for k, upload in self._kept.items() if upload.until < now]:
            del self._kept[key]

    def _bytes(self) -> int:
        return sum(len(upload.data) for upload in self._kept.values())
