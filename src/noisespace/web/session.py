"""What one visitor has on the page: the photo, a job under way, and the edits done so far."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noisespace.web.history import History
from noisespace.web.records import Settings


@dataclass(frozen=True)
class Photo:
    """A picture that was given: its path as PNG, the sha256 of its pixels, (width, height)."""

    path: str
    image: str
    size: tuple[int, int]


@dataclass(frozen=True)
class Entry:
    """One edit that was done: what was asked, what came, and what it took."""

    settings: Settings
    photo: Photo
    pictures: tuple[str, ...]  # paths of the results, each with its record
    reconstruction: str
    mask: str  # path, "" for none
    records: tuple[Mapping[str, Any], ...]
    code: str  # the engine's key
    said: str  # how long it took
    chosen: int = 0

    @property
    def title(self) -> str:
        own = self.settings
        return f"{own.target} · {own.method} · guidance {own.guidance or 'default'}"


class Session:
    """One visitor's; it changes in place, since several handlers of the page use it at once.

    Its files lie in a folder of its own, which goes when the visitor has been away for a while.
    """

    def __init__(self, owner: str = "") -> None:
        self.owner = owner
        self.job: Any = None
        self.photo: Photo | None = None
        self.photos: dict[str, Photo] = {}  # by the sha256 of their pixels
        self.compared: tuple[Settings, ...] = ()  # the cells of the last comparison
        self.clicked: tuple[int, int] | None = None  # where a shift begins
        self.mask: np.ndarray | None = None  # as painted on the photo
        self.redraw = False  # whether the editor of masks has to be drawn anew
        self.found: np.ndarray | None = None  # what that was begun with
        self.history: History[Entry] = History()
        self._folder: Path | None = None
        self._count = 0

    def __deepcopy__(self, memo: Any) -> Session:
        return self  # gradio copies what its factory gives; ours is new already

    @property
    def entry(self) -> Entry | None:
        return self.history.current

    def take(self, photo: Photo | None) -> None:
        """Another photo is on the table; a mask was painted on the one before."""
        if photo is None or self.photo is None or photo.image != self.photo.image:
            self.mask = self.found = None
        self.photo = photo
        if photo is not None:
            self.photos[photo.image] = photo

    def write(self, name: str, data: bytes) -> str:
        """A file of this session, in a folder of its own so that the name may be used again."""
        if self._folder is None:
            # within the folder that the server removes when it ends, where it names one
            place = os.environ.get("GRADIO_TEMP_DIR")
            self._folder = Path(tempfile.mkdtemp(prefix="noisespace-page-", dir=place))
        self._count += 1
        path = self._folder / str(self._count) / name
        path.parent.mkdir()
        path.write_bytes(data)
        return str(path)

    def cancel(self) -> bool:
        """Stops the job under way, if there is one."""
        job = self.job
        if job is None:
            return False
        job.cancel()
        return True

    def close(self) -> None:
        """The visitor has gone: no job goes on for nobody, no file stays."""
        self.cancel()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


class Visitors:
    """Sessions by the secret that each browser keeps, so that a reload finds its own again.

    Those that were away for ``lifetime`` seconds, or longest where there are too many, are closed.
    """

    def __init__(self, lifetime: float, most: int = 64) -> None:
        self._lifetime, self._most = lifetime, most
        self._kept: OrderedDict[str, tuple[Session, float]] = OrderedDict()
        self._lock = threading.Lock()

    def session(self, visitor: str) -> Session:
        """The session of a secret; a new one where there is none."""
        now = time.monotonic()
        with self._lock:
            session, _ = self._kept.pop(visitor, (None, 0.0))
            session = session or Session(visitor)
            self._kept[visitor] = (session, now)
            while self._kept:
                oldest = next(iter(self._kept))
                late = now - self._kept[oldest][1] > self._lifetime
                if not late and len(self._kept) <= self._most:
                    break
                self._kept.pop(oldest)[0].close()
        return session
