"""Inversions that are kept, so that an edit of a known picture starts at once."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from noisespace.core.code import Code
from noisespace.web.jobs import Gone


@dataclass
class Entry:
    """A code, who may use it by its key, when that was last done, and its reconstruction."""

    code: Code
    bytes: int
    owners: set[str] = field(default_factory=set)
    used: float = 0.0
    replay: Image.Image | None = None


class Codes:
    """Codes by the contents of what made them: the least used go first, bounded in bytes.

    A key is a keyed hash of the contents with a secret of this process: nobody can compute the key
    of another's picture, and who has not made a code (or has not been given it by its contents)
    may not name it.
    """

    def __init__(
        self, entries: int, bytes: int, lifetime: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._entries, self._bytes, self._lifetime = entries, bytes, lifetime
        self._clock, self._secret = clock, secrets.token_bytes(32)
        self._kept: OrderedDict[str, Entry] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """What the codes take."""
        with self._lock:
            return sum(entry.bytes for entry in self._kept.values())

    def __len__(self) -> int:
        return len(self._kept)

    def key(self, contents: Any) -> str:
        """The key of a code that such contents make; contents must have a faithful repr."""
        return hmac.new(self._secret, repr(contents).encode(), hashlib.sha256).hexdigest()

    def find(self, key: str, owner: str) -> Code | None:
        """The code of contents that the owner has shown; from now on it may be named by its key."""
        with self._lock:
            entry = self._kept.get(key)
            if entry is None:
                return None
            entry.owners.add(owner)
            return self._touch(key, entry)

    def named(self, key: str, owner: str) -> Code:
        """The code of a key. Raises Gone for one that is gone or another's: no difference."""
        with self._lock:
            entry = self._kept.get(key)
            if entry is None or owner not in entry.owners:
                raise Gone(f"there is no code {key[:8]}... (any more): give the image again")
            return self._touch(key, entry)

    def put(self, key: str, code: Code, owner: str) -> None:
        """Keeps a code; others go until it fits. One that is larger than all room is not kept."""
        with self._lock:
            entry = Entry(code, size(code), {owner})
            if old := self._kept.pop(key, None):
                entry.owners |= old.owners
            self._kept[key] = entry
            self._touch(key, entry)
            while len(self._kept) > self._entries or self._total() > self._bytes:
                self._kept.popitem(last=False)

    def replay(self, key: str) -> Image.Image | None:
        """The reconstruction that was kept with a code."""
        with self._lock:
            entry = self._kept.get(key)
            return None if entry is None else entry.replay

    def keep_replay(self, key: str, picture: Image.Image) -> None:
        """Keeps a code's reconstruction beside it."""
        with self._lock:
            if (entry := self._kept.get(key)) and entry.replay is None:
                entry.replay = picture
                entry.bytes += picture.width * picture.height * len(picture.getbands())

    def expire(self) -> None:
        """Deletes what nobody used for a lifetime."""
        with self._lock:
            old = self._clock() - self._lifetime
            for key in [k for k, entry in self._kept.items() if entry.used < old]:
                del self._kept[key]

    def _touch(self, key: str, entry: Entry) -> Code:
        entry.used = self._clock()
        self._kept.move_to_end(key)
        return entry.code

    def _total(self) -> int:
        return sum(entry.bytes for entry in self._kept.values())


def size(code: Code) -> int:
    """The bytes of a code's tensors."""
    named = (code.path, code.residual, code.null, code.text)
    named = (*named, *code.kept.values(), *code.adapter.values())
    return sum(t.numel() * t.element_size() for t in named if t is not None)
