"""Random streams: a seed has one for each purpose, on the CPU."""

from __future__ import annotations

import hashlib

from torch import Generator


def stream(seed: int, purpose: str) -> Generator:
    """The random numbers that a seed means for a purpose ("sample", "invert", "replay", ...).

    Streams of one seed differ by purpose: the noise that an inversion starts from is not that which
    an edit of it adds, nor that of which a sample was made. A sample's is the seed's own, so that
    it is the one which diffusers makes of that seed.
    """
    if purpose != "sample":
        digest = hashlib.sha256(f"{purpose} {seed}".encode()).digest()
        seed = int.from_bytes(digest[:8], "big")
    return Generator().manual_seed(seed)
