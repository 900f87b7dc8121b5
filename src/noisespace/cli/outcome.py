"""How a command ends and what it says: exit codes, one sentence for a failure, one JSON document.

Results go to standard output; settings, notes, progress and errors to standard error.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from noisespace.errors import InputError, RunError

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def say(text: str) -> None:
    """One line on standard error."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201  # this is the command line's voice


def finish(document: dict[str, Any], lines: list[str], as_json: bool, code: int = DONE) -> None:
    """Prints a command's result: one JSON document, or lines; exits with ``code`` unless 0."""
    if as_json:
        typer.echo(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False))
    else:
        for line in lines:
            typer.echo(line)
    if code != DONE:
        raise typer.Exit(code)


def one_sentence(error: BaseException) -> str:
    """What went wrong, in one line."""
    text = " ".join(str(error).split()) or "no reason given"
    short = isinstance(error, MemoryError) or "out of memory" in text.lower()
    if short and not isinstance(error, RunError):  # which says better what helps
        return "out of memory: use a smaller --size, fewer --seeds or another --dtype"
    return text if len(text) < 600 else text[:600] + "..."


def exits(function: Callable[..., None]) -> Callable[..., None]:
    """A command with the exit codes of the contract: 0 done, 1 failed while running, 2 bad input.

    NOISESPACE_DEBUG=1 shows the traceback too.
    """

    @functools.wraps(function)
    def command(*args: Any, **options: Any) -> None:
        try:
            with clean_warnings():
                function(*args, **options)
        except typer.Exit:
            raise
        except (KeyboardInterrupt, typer.Abort):
            say("interrupted; nothing half-written was left behind")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # the reader of our output went away: nothing to say, and nobody to say it to
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(FAILED) from None
        except Exception as error:  # the last line of defence: a sentence, never a traceback
            report(error, bool(options.get("as_json")))

    return command


def report(error: Exception, as_json: bool) -> None:
    """Says what failed and exits."""
    if os.environ.get("NOISESPACE_DEBUG"):
        import traceback

        say(traceback.format_exc().rstrip())
    text = one_sentence(error)
    if not isinstance(error, (InputError, RunError)):
        text = f"failed: {type(error).__name__}: {text} (NOISESPACE_DEBUG=1 shows where)"
    code = BAD_INPUT if isinstance(error, InputError) else FAILED
    say(f"error: {text}")
    if as_json:
        typer.echo(json.dumps({"error": text, "exit_code": code}, ensure_ascii=False))
    raise typer.Exit(code)


@contextmanager
def clean_warnings() -> Iterator[None]:
    """The library's own warnings as clean lines, each once; those of other libraries not at all."""
    seen: set[str] = set()

    def show(message: Any, category: Any, *_: Any, **__: Any) -> None:
        # The library warns with plain UserWarning; others derive theirs, or deprecate things.
        text = " ".join(str(message).split())
        if category is UserWarning and text not in seen:
            seen.add(text)
            say(f"note: {text}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=UserWarning)
        warnings.showwarning = show
        yield


class Shown:
    """A task's bar: ``(done, total)`` moves it, ``note`` writes a loss beside its name."""

    def __init__(self, bars: Any, task: Any, label: str) -> None:
        self._bars, self._task, self._label = bars, task, label

    @property
    def visible(self) -> bool:
        """Whether there is a terminal to show it on."""
        return not self._bars.disable

    def __call__(self, done: int, total: int) -> None:
        self._bars.update(self._task, completed=done, total=total)

    def note(self, text: str) -> None:
        self._bars.update(self._task, description=f"{self._label}, {text}")


@contextmanager
def progress(label: str) -> Iterator[Shown]:
    """A bar with the time left, on standard error and only on a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    clocks = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, *clocks, console=console, disable=not console.is_terminal) as bars:
        yield Shown(bars, bars.add_task(label, total=None), label)


class Clock:
    """Seconds by what they were spent on."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._start = time.perf_counter()

    @contextmanager
    def on(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)

    def total(self) -> float:
        return round(time.perf_counter() - self._start, 3)

    def all(self) -> dict[str, float]:
        return {**self.seconds, "total": self.total()}
