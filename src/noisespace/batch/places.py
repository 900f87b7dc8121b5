"""Where files lie: local paths, and URLs that fsspec knows (s3://bucket/cat.png, memory://...)."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from noisespace.decode import MAX_BYTES, read_bytes
from noisespace.errors import InputError, reason


def is_url(place: str) -> bool:
    """Whether a place is a URL, not a path ("c:/cat.png" is a path)."""
    head, found, _ = place.partition("://")
    return bool(found) and len(head) > 1


def resolved(place: str, folder: Path) -> str:
    """A place as its manifest has it: paths are relative to the manifest's folder."""
    return place if is_url(place) else str(folder / place)


def read(place: str, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes of a file, no more than ``max_bytes``; InputError, one sentence, where it cannot.

    Credentials are the store's usual ones (environment, profiles): none is ever in a manifest.
    """
    if not is_url(place):
        return read_bytes(Path(place), max_bytes)
    system, path = opened(place)
    try:
        with system.open(path, "rb") as file:
            data = file.read(max_bytes + 1)
    except Exception as error:  # every store has errors of its own
        raise InputError(f"{place}: cannot be read: {said(error)}") from None
    if not data:
        raise InputError(f"{place}: is empty, expected an image file")
    if len(data) > max_bytes:
        raise InputError(f"{place}: is larger than {max_bytes / 2**20:g} MiB, the limit")
    return data


def opened(place: str) -> tuple[Any, str]:
    """A URL's file system and the path on it; InputError where the package for it is missing."""
    try:
        import fsspec
    except ModuleNotFoundError:
        raise InputError(f"{place}: URLs need fsspec; install noisespace[batch]") from None
    try:
        return fsspec.core.url_to_fs(place)
    except Exception as error:  # an unknown protocol, a package that is not there
        raise InputError(f"{place}: cannot be opened: {said(error)}") from None


def said(error: BaseException) -> str:
    """A store's error, with what to do where it is about who asks."""
    text = reason(error)
    if any(word in text for word in ("Credentials", "credentials", "Access Key", "AccessDenied")):
        return (
            f"{text} (give the store's credentials in the environment, as its own tools take them)"
        )
    return text


class Shelf:
    """A folder or a URL below which outputs lie; each is there whole or not at all.

    A store takes an object whole; on a local disk a file gets its name when it is complete.
    """

    def __init__(self, place: str | Path) -> None:
        self.place = str(place)
        self._system, self._root = opened(self.place) if is_url(self.place) else (None, "")

    def write(self, name: str, data: bytes) -> None:
        """Writes or overwrites a file. Raises InputError where it cannot (disk full ...)."""
        from noisespace.files import write_bytes

        if self._system is None:
            write_bytes(Path(self.place) / name, data, force=True)
            return
        try:
            self._system.pipe_file(str(PurePosixPath(self._root) / name), data)
        except Exception as error:
            raise InputError(f"{self.place}/{name}: cannot be written: {said(error)}") from None

    def check(self) -> None:
        """Raises InputError, before anything runs, where nothing can be written."""
        self.write(".noisespace", b"noisespace batch\n")
