"""Writing files so that nothing is lost or half-written: a temporary name, then a rename."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from noisespace.errors import InputError


def _umask() -> int:
    """The process's mask of rights, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


UMASK = _umask()  # once: read in two threads at a time it could stay 0


def check_writable(path: str | Path, *, force: bool = False) -> Path:
    """Refuses, before any work is done, an output that could not be written afterwards."""
    path = Path(path)
    try:
        return _check_writable(path, force)
    except OSError as error:  # a name that is too long, a folder that cannot be looked into
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None


def _check_writable(path: Path, force: bool) -> Path:
    if path.is_dir():
        raise InputError(f"{path}: is a folder; expected a file name to write to")
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is a device or a pipe; expected a file name to write to")
    if path.exists() and not force:
        raise InputError(f"{path}: exists already; choose another name or overwrite with --force")
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):  # the one test that every file system answers
            return path
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"{path}: cannot be written, {folder} is not a writable folder ({reason})"
        ) from None


def write_bytes(path: str | Path, data: bytes, *, force: bool = False) -> None:
    """Writes a file whole or not at all; makes its folder; overwrites only with ``force``.

    Raises InputError in one sentence (exists, unwritable, disk full).
    """
    with replacing(path, force=force) as file:
        file.write(data)


@contextmanager
def replacing(path: str | Path, *, force: bool = False) -> Iterator[BinaryIO]:
    """A file to write bit by bit, which takes its name in the end, or goes where that fails.

    Raises InputError as ``write_bytes`` does.
    """
    path = check_writable(path, force=force)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", suffix=".tmp", delete=False
        ) as file:
            temporary = Path(file.name)
            yield cast(BinaryIO, file)
            file.flush()
            os.fsync(file.fileno())
        # NamedTemporaryFile makes private files; give the result the rights of a plain open()
        temporary.chmod(0o666 & ~UMASK)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Holds a run's folder, which it makes; InputError where another run does.

    The hold ends with the process, however that ends.
    """
    from filelock import FileLock, Timeout

    held = FileLock(folder / ".lock", blocking=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held.acquire()
    except Timeout:
        raise InputError(f"{folder}: another run is going on in this folder") from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from None
    try:
        yield
    finally:
        held.release()


def remove_leftovers(folder: Path) -> None:
    """Removes what a killed process left half-written in a folder that nobody else writes to."""
    for path in folder.glob(".*.tmp"):
        if path.is_file():
            path.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any, *, force: bool = False) -> None:
    """Writes indented JSON with sorted keys, whole or not at all."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    write_bytes(path, (text + "\n").encode(), force=force)
