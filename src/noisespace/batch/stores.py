"""Where outputs go: a local folder, or one in an object store; files appear whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from noisespace.batch.buckets import Bucket
from noisespace.batch.places import Held, StoreError, scheme
from noisespace.errors import InputError
from noisespace.system.files import alone, remove_leftovers, write_bytes

__all__ = ["Bucket", "Folder", "Held", "Store", "StoreError", "content_name", "store"]


class Store(Protocol):
    """A folder of outputs: files that appear whole or not at all."""

    @property
    def name(self) -> str: ...

    def put(self, path: str, data: bytes) -> None:
        """Writes or replaces a file. StoreError where that fails."""
        ...

    def get(self, path: str) -> bytes | None:
        """A file's bytes, None where there is none."""
        ...

    def has(self, path: str) -> bool: ...

    def list(self, folder: str) -> list[str]:
        """The names of the files right in a folder, sorted."""
        ...

    def remove(self, path: str) -> None: ...

    def alone(self) -> AbstractContextManager[Held]:
        """Holds the folder, and tells whether it is still held; InputError where another does."""
        ...

    def tidy(self) -> None:
        """Removes what a killed job left half-written; the folder must be a job's, and held."""
        ...


@dataclass(frozen=True)
class Folder:
    """A local folder: a temporary name, then a rename."""

    name: str

    def put(self, path: str, data: bytes) -> None:
        try:
            write_bytes(Path(self.name, path), data, force=True)
        except InputError as error:
            raise StoreError(str(error)) from None

    def get(self, path: str) -> bytes | None:
        try:
            return Path(self.name, path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"{Path(self.name, path)}: cannot be read: {error.strerror}") from None

    def has(self, path: str) -> bool:
        return Path(self.name, path).is_file()

    def list(self, folder: str) -> list[str]:
        at = Path(self.name, folder)
        return sorted(p.name for p in at.iterdir() if p.is_file()) if at.is_dir() else []

    def remove(self, path: str) -> None:
        Path(self.name, path).unlink(missing_ok=True)

    @contextmanager
    def alone(self) -> Iterator[Held]:
        with alone(Path(self.name)):
            yield lambda: True

    def tidy(self) -> None:
        own = Path(self.name)
        for folder in (own, *own.glob("*/"), *own.glob("*/??/")):  # what jobs make, and no other
            remove_leftovers(folder)


def store(place: str) -> Store:
    """The store at a path or URL."""
    return Bucket(place.rstrip("/")) if scheme(place) else Folder(place)


def content_name(data: bytes, folder: str, suffix: str) -> str:
    """A file's name by what is in it, spread over 256 folders."""
    key = hashlib.sha256(data).hexdigest()
    return f"{folder}/{key[:2]}/{key}{suffix}"
