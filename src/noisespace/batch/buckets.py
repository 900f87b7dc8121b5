"""A folder of outputs in an object store, held by a lease."""

from __future__ import annotations

import posixpath
import secrets
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from noisespace.batch.places import TRIES, Held, StoreError, denied, system, worded
from noisespace.errors import InputError

LEASE = 60.0  # seconds that a store of objects is held without a sign of life


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
        try:
            return bool(files.exists(f"{root}/{path}"))
        except Exception as error:
            raise StoreError(f"{self.name}/{path}: {worded(self.name, error)}") from None

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
        try:
            files.rm_file(f"{root}/{path}")
        except FileNotFoundError:
            pass
        except Exception as error:
            raise StoreError(f"{self.name}/{path}: {worded(self.name, error)}") from None

    @contextmanager
    def alone(self) -> Iterator[Held]:
        """A lease that is renewed: it ends by itself a minute after its holder does.

        One that is there is watched for as long as it lasts: a killed job's stays as it is.
        """
        self._wait()
        own = secrets.token_hex(8).encode()
        self._renew(own)
        time.sleep(1)  # of two that came at once, the one that wrote last goes on
        if not self._own(own):
            raise InputError(f"{self.name}: another job is going on in this folder")
        ended, lost = threading.Event(), threading.Event()
        renewing = threading.Thread(target=self._hold, args=(own, ended, lost), daemon=True)
        renewing.start()
        try:
            yield lambda: not lost.is_set()
        finally:
            ended.set()
            renewing.join()
            if not lost.is_set():
                self.remove("lock")

    def tidy(self) -> None:
        """Nothing: what is not uploaded whole is not there."""

    def _wait(self) -> None:
        """Until nobody holds the lease. InputError where somebody renews it."""
        found, start = self.get("lock"), time.monotonic()
        if found is None:
            return
        warnings.warn(f"{self.name}: is held by a job; is it alive? A minute shows", stacklevel=3)
        while time.monotonic() - start < LEASE:  # our own clock: theirs may differ
            time.sleep(LEASE / 60)
            now = self.get("lock")
            if now is None:
                return
            if now != found:
                raise InputError(f"{self.name}: another job is going on in this folder")

    def _own(self, own: bytes) -> bool:
        return (self.get("lock") or b"").startswith(own)

    def _renew(self, own: bytes) -> None:
        self.put("lock", own + f" {time.time():.3f}".encode())

    def _hold(self, own: bytes, ended: threading.Event, lost: threading.Event) -> None:
        while not ended.wait(LEASE / 4):
            with suppress(StoreError):  # the next one may get through
                if not self._own(own):
                    lost.set()
                    return
                self._renew(own)
