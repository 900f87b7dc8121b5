"""What one server takes on: every bound in one place."""

from __future__ import annotations

from dataclasses import dataclass, fields

from noisespace.errors import InputError

MIB = 2**20
TOGETHER = 6  # times the pixels of a photo that all pictures of one request may have


@dataclass(frozen=True)
class Limits:
    """The bounds of a server; a number from 1 on each (bytes, pixels, seconds, counts).

    ``pixels`` and ``upload_bytes``: of a picture that is given; ``working_pixels``: of one at the
    model's resolution; ``queue``: jobs that wait, ``queue_owner`` of one person and
    ``queue_bytes`` in pictures; ``job_seconds``: of one job's work; ``variants``: seeds a job,
    ``rows``: pictures that one batch holds (seeds x targets); ``steps``: of a grid; ``combos``:
    cells of a comparison; ``cache_entries``, ``cache_bytes``: inversions that are kept;
    ``uploads``, ``uploads_bytes``: uploaded pictures that are kept; ``kept_jobs`` and
    ``kept_bytes``: finished jobs; ``lifetime``: seconds after which an upload, a finished job or
    an inversion that nobody used is deleted.
    """

    pixels: int = 24_000_000
    upload_bytes: int = 32 * MIB
    working_pixels: int = 1024 * 1024
    queue: int = 16
    queue_owner: int = 4
    queue_bytes: int = 256 * MIB
    job_seconds: float = 600.0
    variants: int = 16
    rows: int = 32
    steps: int = 1000
    combos: int = 36
    cache_entries: int = 64
    cache_bytes: int = 1024 * MIB
    uploads: int = 64
    uploads_bytes: int = 256 * MIB
    kept_jobs: int = 64
    kept_bytes: int = 512 * MIB
    lifetime: float = 3600.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise InputError(f"the limit {field.name} must be positive, got {value!r}")
