"""Where images are: local paths, and URLs of object stores through fsspec."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from noisespace.errors import InputError, RunError
from noisespace.pictures.decode import MAX_BYTES, read_bytes

SCHEMES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "http": "aiohttp"}
SCHEMES |= {"https": "aiohttp", "memory": "fsspec"}  # scheme -> the package that serves it
TRIES = 3  # of a read that failed on the way
DENIED = ("credentials", "accessdenied", "access denied", "forbidden", "invalidaccesskey", "token")


# of a store that is away, or that does not know us any more: every row would fail. A plain refusal
# is not among them: S3 says it of a missing file too, to who may not list
AWAY = ("credentials", "invalidaccesskey", "expired", "endpointconnection", "connection")
AWAY += ("timeout", "timed out", "could not connect")


Held = Callable[[], bool]  # whether a job still holds its folder


class StoreError(RunError):
    """A store cannot be used (full, denied, unreachable): the job stops, no row is to blame."""


def scheme(place: str) -> str:
    """The scheme of a URL, "" of a path."""
    head, found, _ = place.partition("://")
    return head.lower() if found else ""


def check_place(place: str) -> str:
    """The place itself; ValueError (for pydantic) for a scheme that is not known."""
    kind = scheme(place)
    if "\0" in place or "::" in place or (kind and kind not in SCHEMES):
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise ValueError(f"must be a path or a URL with {known}")
    return place


def beside(manifest: str, place: str) -> str:
    """A place that is relative to a manifest's folder."""
    if scheme(place):
        return place
    if scheme(manifest):
        return posixpath.join(posixpath.dirname(manifest), place)
    try:
        own = Path(place).expanduser()
    except RuntimeError:  # "~name" of nobody: a file's own name
        own = Path(place)
    return str(Path(manifest).absolute().parent / own)


def system(place: str) -> tuple[Any, str]:
    """The file system of a URL and the path in it. InputError where its package is missing."""
    kind = scheme(place)
    try:
        import fsspec

        return fsspec.core.url_to_fs(place)
    except ImportError:
        extra = "noisespace[s3]" if kind == "s3" else SCHEMES.get(kind, "fsspec")
        raise InputError(f"{place}: {kind}:// needs a package; install {extra}") from None
    except Exception as error:
        raise InputError(f"{place}: {worded(place, error)}") from None


def fetch(place: str, most: int = MAX_BYTES) -> bytes:
    """The bytes of a file, no more than ``most``.

    InputError in one sentence for all that fails, StoreError where all of its store's would.
    """
    if not scheme(place):
        return read_bytes(Path(place), most)
    files, path = system(place)
    for left in reversed(range(TRIES)):
        try:
            with files.open(path, "rb") as file:
                data = file.read(most + 1)
            break
        except FileNotFoundError:
            raise InputError(f"{place}: there is no such file") from None
        except Exception as error:  # each store has its own kinds
            if denied(error) or not left:
                kind = StoreError if away(place, error) else InputError
                raise kind(f"{place}: {worded(place, error)}") from None
            time.sleep(0.5 * (TRIES - left))
    if not data:
        raise InputError(f"{place}: is empty, expected a file")
    if len(data) > most:
        raise InputError(
            f"{place}: is larger than {most / 2**20:g} MiB, the limit; make it smaller"
        )
    return data


def away(place: str, error: BaseException) -> bool:
    """Whether no file of an object store can be had; of the web's hosts each is its own row's."""
    text = f"{type(error).__name__} {error}".lower()
    return scheme(place) not in ("http", "https") and any(word in text for word in AWAY)


def denied(error: BaseException) -> bool:
    """Whether a store refuses us, or we have no name to give it."""
    text = f"{type(error).__name__} {error}".lower()
    return isinstance(error, PermissionError) or any(word in text for word in DENIED)


def worded(place: str, error: BaseException) -> str:
    """What a store said, with what to do where it is about credentials."""
    text = " ".join(str(error).split())[:300] or type(error).__name__
    if not denied(error):
        return f"cannot be reached: {type(error).__name__}: {text}"
    names = {"s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or an AWS profile)"}
    give = names.get(scheme(place), "the credentials that its fsspec file system reads")
    return f"access denied or credentials missing ({text}): set {give}"


def check_reach(places: set[str]) -> None:
    """Tries one place of each store before a job runs: InputError where it cannot be used.

    A missing file says nothing here: that is its own row's failure.
    """
    roots: dict[str, str] = {}
    for place in sorted(places):
        if kind := scheme(place):
            roots.setdefault(f"{kind}://{place.partition('://')[2].partition('/')[0]}", place)
    for place in roots.values():
        files, path = system(place)
        try:
            files.info(path)
        except Exception as error:
            if denied(error) or away(place, error):
                raise InputError(f"{place}: {worded(place, error)}") from None
