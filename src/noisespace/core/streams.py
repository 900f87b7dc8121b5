"""Random streams: a seed has one for each purpose, on the CPU."""

from __future__ import annotations

import hashlib

from torch import Generator


def stream(seed: int, purpose: str) -> Generator:
    """The random numbers that a seed means for a purpose ("sample", "edit", ...).

    Streams of one seed differ by purpose: the noise that an inversion starts from is not that which
    an edit of it adds. An inversion's ("invert") is the seed's own.
    """
    if purpose != "invert":
        digest = hashlib.sha256(f"{purpose} {seed}".encode()).digest()
        seed = int.from_bytes(digest[:8], "big")
    return Generator().manual_seed(seed)
