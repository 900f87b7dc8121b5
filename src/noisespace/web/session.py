"""What one visitor has on the page: the photo, a job under way, and the edits done so far."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisespace.web.history import History
from noisespace.web.records import Settings


@dataclass(frozen=True)
class Entry:
    """One edit that was done: what was asked, what came, and what it took."""

    settings: Settings
    photo: str  # path of the input, as PNG
    image: str  # sha256 of its pixels
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

    def __init__(self) -> None:
        self.owner = ""
        self.job: Any = None
        self.history: History[Entry] = History()
        self._folder: Path | None = None
        self._count = 0

    def __deepcopy__(self, memo: Any) -> Session:
        return self  # gradio copies what its factory gives; ours is new already

    @property
    def entry(self) -> Entry | None:
        return self.history.current

    def photos(self) -> dict[str, str]:
        """The photos of this session by the sha256 of their pixels."""
        return {entry.image: entry.photo for entry in self.history.entries}

    def write(self, name: str, data: bytes) -> str:
        """A file of this session, in a folder of its own so that the name may be used again."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="noisespace-page-"))
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
