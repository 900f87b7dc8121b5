"""Where outputs go: a local folder, or one in an object store; files appear whole or not at all."""

from __future__ import annotations

import hashlib
import posixpath
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from noisespace.batch.places import TRIES, denied, scheme, system, worded
from noisespace.errors import InputError
from noisespace.files import alone, remove_leftovers, write_bytes

LEASE = 60.0  # seconds that a store of objects is held without a sign of life


class StoreError(InputError):
    """Outputs cannot be written (full, denied, unreachable): the job stops, no row is to blame."""


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

    def alone(self) -> AbstractContextManager[None]:
        """Holds the folder; InputError where another job does."""
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
        except FileNotFoundError:
            return None

    def has(self, path: str) -> bool:
        return Path(self.name, path).is_file()

    def list(self, folder: str) -> list[str]:
        at = Path(self.name, folder)
        return sorted(p.name for p in at.iterdir() if p.is_file()) if at.is_dir() else []

    def remove(self, path: str) -> None:
        Path(self.name, path).unlink(missing_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        with alone(Path(self.name)):
            for folder in [Path(self.name), *Path(self.name).glob("**/")]:
                remove_leftovers(folder)  # of a job that was killed
            yield


@dataclass(frozen=True)
class Bucket:
    """A folder in an object store, where a file appears whole when its upload ends."""

    name: str

    def put(self, path: str, data: bytes) -> None:
        files, root = system(self.name)
        for left in reversed(range(TRIES)):
            try:
                files.pipe_file(f"{root}/{path}", data)
                return
            except Exception as error:
                if denied(error) or not left:
                    raise StoreError(f"{self.name}/{path}: {worded(self.name, error)}") from None
                time.sleep(0.5 * (TRIES - left))

    def get(self, path: str) -> bytes | None:
        files, root = system(self.name)
        try:
            return files.cat_file(f"{root}/{path}")
        except FileNotFoundError:
            return None
        except Exception as error:
            raise StoreError(f"{self.name}/{path}: {worded(self.name, error)}") from None

    def has(self, path: str) -> bool:
        files, root = system(self.name)
        return bool(files.exists(f"{root}/{path}"))

    def list(self, folder: str) -> list[str]:
        files, root = system(self.name)
        try:
            files.invalidate_cache()
            found = files.ls(f"{root}/{folder}", detail=False)
        except FileNotFoundError:
            return []
        except Exception as error:
            raise StoreError(f"{self.name}/{folder}: {worded(self.name, error)}") from None
        return sorted(posixpath.basename(path.rstrip("/")) for path in found)

    def remove(self, path: str) -> None:
        files, root = system(self.name)
        with suppress(FileNotFoundError):
            files.rm_file(f"{root}/{path}")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A lease that is renewed: it ends by itself a minute after its holder does."""
        own = secrets.token_hex(8)
        found = (self.get("lock") or b"").decode(errors="replace").split()
        if len(found) == 2 and 0 <= time.time() - float(found[1]) < LEASE:
            raise InputError(
                f"{self.name}: another job is going on in this folder, or was until a minute ago; "
                "wait a minute and try again"
            )
        self._renew(own)
        time.sleep(1)  # of two that came at once, the one that wrote last goes on
        if not (self.get("lock") or b"").startswith(own.encode()):
            raise InputError(f"{self.name}: another job is going on in this folder")
        ended = threading.Event()
        renewing = threading.Thread(target=self._hold, args=(own, ended), daemon=True)
        renewing.start()
        try:
            yield
        finally:
            ended.set()
            renewing.join()
            self.remove("lock")

    def _renew(self, own: str) -> None:
        self.put("lock", f"{own} {time.time():.0f}".encode())

    def _hold(self, own: str, ended: threading.Event) -> None:
        while not ended.wait(LEASE / 4):
            with suppress(StoreError):  # the next one may get through
                self._renew(own)


def store(place: str) -> Store:
    """The store at a path or URL."""
    return Bucket(place.rstrip("/")) if scheme(place) else Folder(place)


def content_name(data: bytes, folder: str, suffix: str) -> str:
    """A file's name by what is in it, spread over 256 folders."""
    key = hashlib.sha256(data).hexdigest()
    return f"{folder}/{key[:2]}/{key}{suffix}"
