"""What one visitor has on the page: the photo, a job under way, and the edits done so far."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from noisespace.web.folders import beside
from noisespace.web.history import History
from noisespace.web.records import PAINTED, Settings

PASSING = 8  # downloads that a session keeps
PHOTOS = 4  # that it keeps though no edit is of them


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
    model: str | None = None  # as the command line takes it; see `sharing.command`

    @property
    def paths(self) -> list[str]:
        """Its own files; the photo is shared."""
        return [path for path in (*self.pictures, self.reconstruction, self.mask) if path]

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
        self.used = time.monotonic()  # when the visitor did something last
        self.job: Any = None
        self.photo: Photo | None = None
        self.photos: dict[str, Photo] = {}  # by the sha256 of their pixels
        self.compared: tuple[Settings, ...] = ()  # the cells of the last comparison
        self.looked = ""  # the photo whose noise is shown, by its sha256
        self.clicked: tuple[int, int] | None = None  # where a shift begins
        self.mask: np.ndarray | None = None  # as painted on the photo
        self.redraw = False  # whether the board of masks has to be drawn anew
        self.boards: dict[str, int] = {}  # the number of each board, whose strokes alone count
        self.found: np.ndarray | None = None  # what that was begun with
        self.strokes: dict[str, str] = {}  # paths of painted colour by name, oldest first
        self.colour: Any = None  # what is painted in the tab Noise space, RGBA, of its board's size
        self.history: History[Entry] = History()
        self.readmit: Callable[[Session], None] = lambda session: None  # of whoever keeps sessions
        self._passing: deque[Path] = deque()
        self._shown: dict[str, list[str]] = {}  # paths by what shows them
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
            self.mask = self.found = self.colour = None
            for place in self.boards:
                self.refuse_strokes(place)
        self.photo, self.used = photo, time.monotonic()
        if photo is not None:
            self.photos.pop(photo.image, None)
            self.photos[photo.image] = photo
            self._forget_photos()

    def refuse_strokes(self, place: str) -> int:
        """Strokes that are on their way mean nothing any more; the number of what is drawn next."""
        self.boards[place] = self.boards.get(place, 0) + 1
        return self.boards[place]

    def draw_again(self) -> None:
        """Asks for another board of masks, since its photo or what was found has changed."""
        self.redraw = True
        self.refuse_strokes("painter")

    def _forget_photos(self) -> None:
        """Of photos that no edit is of, the last few are kept."""
        edited = {entry.photo.image for entry in self.history.entries}
        spare = [image for image in self.photos if image not in edited]
        for image in spare[:-PHOTOS]:
            Path(self.photos.pop(image).path).unlink(missing_ok=True)

    def revisit(self, entry: Entry) -> None:
        """Back to an edit: its photo and the mask that was painted for it."""
        self.take(entry.photo)
        if entry.settings.mask == PAINTED and entry.mask:
            self.mask = self.found = np.array(Image.open(entry.mask).convert("L"))

    def add(self, entry: Entry) -> None:
        """Another edit; the pictures of those that are forgotten go."""
        before, self.history = self.history, self.history.add(entry)
        kept = {path for one in self.history.entries for path in one.paths}
        for path in {path for one in before.entries for path in one.paths} - kept:
            Path(path).unlink(missing_ok=True)

    def pass_on(self, name: str, data: bytes) -> str:
        """A file to be fetched once: the last few are kept."""
        path = self.write(name, data)
        self._passing.append(Path(path))
        while len(self._passing) > PASSING:
            self._passing.popleft().unlink(missing_ok=True)
        return path

    def write(self, name: str, data: bytes, of: str = "") -> str:
        """A file of this session, in a folder of its own so that the name may be used again.

        ``of``: what shows it, for `drop`.
        """
        self.used = time.monotonic()
        if self._folder is None:
            # gradio empties its own folder of all that has been there for a while
            self._folder = Path(tempfile.mkdtemp(prefix="noisespace-page-", dir=beside()))
            self.readmit(self)  # a page that was away for a lifetime: its files shall go again
        self._count += 1
        path = self._folder / str(self._count) / name
        path.parent.mkdir()
        path.write_bytes(data)
        if of:
            self._shown.setdefault(of, []).append(str(path))
        return str(path)

    def drop(self, of: str) -> None:
        """Deletes the files of what shows something else now; the browser has its own copies."""
        for path in self._shown.pop(of, []):
            Path(path).unlink(missing_ok=True)

    def cancel(self) -> bool:
        """Stops the job under way, if there is one."""
        job = self.job
        if job is None:
            return False
        job.cancel()
        return True

    def close(self) -> None:
        """The visitor has gone: no job goes on for nobody, no file stays.

        What is left is as new, since a page that is still open may go on with it.
        """
        self.cancel()
        self.photo = self.mask = self.found = self.colour = None
        self.photos, self.strokes, self.compared = {}, {}, ()
        self.history, self._shown = History(), {}
        self._passing.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
