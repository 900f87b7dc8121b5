"""Jobs: what one person waits for."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image

from noisespace.errors import InputError, RunError

State = Literal["waiting", "running", "done", "failed", "cancelled"]
Stage = Literal["", "inverting", "editing", "reconstructing", "comparing"]
PARTS = 100  # of a cell of a comparison, as its steps are counted
FINISHED = ("done", "failed", "cancelled")


class Busy(RunError):  # noqa: N818  # no error either
    """The server has as much to do as it takes on; ``yours``: as it takes on from this owner."""

    def __init__(self, text: str, *, yours: bool = False) -> None:
        super().__init__(text)
        self.yours = yours


class Gone(InputError):  # noqa: N818
    """What was named is not there, or not the asker's: they are not told which."""


class Cancelled(Exception):  # noqa: N818  # no error: somebody asked for it
    """Raised inside a job to end it within one step."""


@dataclass(frozen=True)
class View:
    """A job at one moment; see ``Job``."""

    id: str
    state: State
    stage: Stage
    position: int
    index: int
    total: int
    seconds: float
    eta: float | None
    error: str | None
    preview: Image.Image | None


class Job:
    """One request under way. Only the engine changes it; everybody else reads and cancels.

    ``state``; ``position`` in the queue (1 is next, 0 once it runs); ``stage``, with ``index`` of
    ``total`` steps done in it (of a comparison: hundredths of its cells); ``seconds`` it has run
    and ``eta``, the seconds that its stage still takes (None while unknown); ``preview``: the
    latest step's picture; ``result``: an Outcome once done; ``error``: one sentence once failed.
    """

    def __init__(self, request: Any, owner: str, *, previews: bool = True) -> None:
        self.id = secrets.token_hex(16)
        self.request, self.owner, self.previews = request, owner, previews
        self.kind = type(request).__name__.removesuffix("Request").lower()
        self.made = time.monotonic()
        self.state: State = "waiting"
        self.stage: Stage = ""
        self.position = self.index = self.total = 0
        self.preview: Image.Image | None = None
        self.result: Any = None
        self.error: str | None = None
        self.ended: float | None = None
        self._started: float | None = None
        self._staged = self.made
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._version = 0

    @property
    def seconds(self) -> float:
        """How long it has run, or ran."""
        if self._started is None:
            return 0.0
        return (self.ended or time.monotonic()) - self._started

    @property
    def eta(self) -> float | None:
        """Seconds until the stage ends, at the pace so far; None before its first step."""
        if self.state != "running" or not self.index:
            return None
        pace = (time.monotonic() - self._staged) / self.index
        return pace * (self.total - self.index)

    @property
    def finished(self) -> bool:
        return self.state in FINISHED

    @property
    def stopping(self) -> bool:
        """Whether somebody has cancelled it."""
        return self._stop.is_set()

    def view(self) -> View:
        """What it is now; it does not change afterwards."""
        with self._changed:
            places = (self.position, self.index, self.total, self.seconds, self.eta)
            return View(self.id, self.state, self.stage, *places, self.error, self.preview)

    def cancel(self) -> None:
        """Ends it: at once where it waits, within one step where it runs."""
        self._stop.set()
        with self._changed:
            if self.state == "waiting":
                self._end("cancelled")

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it is finished; False where that took longer than ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self.finished, timeout)

    def events(self, every: float | None = None) -> Iterator[View]:
        """A view now, then one after every change (and ``every`` seconds), the last when finished.

        A reader that is slower than the job gets the latest view, not all of them.
        """
        seen = -1
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._version != seen, every)  # noqa: B023
                seen, view = self._version, self.view()
            yield view
            if view.state in FINISHED:
                return

    # What follows is the engine's.

    def start(self) -> bool:
        """Begins to run; False where it was cancelled while it waited."""
        with self._changed:
            if self.state != "waiting":
                return False
            self.state, self.position, self._started = "running", 0, time.monotonic()
            self._tell()
            return True

    def enter(self, stage: Stage) -> None:
        """A stage begins."""
        with self._changed:
            self.stage, self.index, self.total, self._staged = stage, 0, 0, time.monotonic()
            self._tell()

    def step(self, index: int, total: int) -> None:
        """A step of the stage is done."""
        with self._changed:
            self.index, self.total = index, total
            self._tell()

    def show(self, preview: Image.Image) -> None:
        """The picture that the latest step predicts."""
        with self._changed:
            self.preview = preview
            self._tell()

    def place(self, position: int) -> None:
        """Where it stands in the queue."""
        with self._changed:
            if self.state == "waiting" and self.position != position:
                self.position = position
                self._tell()

    def end(self, state: State, result: Any = None, error: str | None = None) -> None:
        """It is finished, once and for all."""
        with self._changed:
            if not self.finished:
                self.result, self.error = result, error
                self._end(state)

    def _end(self, state: State) -> None:
        self.state, self.position, self.ended = state, 0, time.monotonic()
        self.request = None  # its picture is not kept longer than it is needed
        self._tell()

    def _tell(self) -> None:
        self._version += 1
        self._changed.notify_all()
