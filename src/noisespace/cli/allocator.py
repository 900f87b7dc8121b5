"""Memory that a network's evaluation gives back is kept for the next one.

glibc returns large blocks to the system as soon as they are free, and the next evaluation pays for
the same pages again: a tenth of the time of a batch of 128 rows on two cores. Only for processes of
our own: it is not for a library to say how a program that imports it keeps its memory.
"""

from __future__ import annotations

import ctypes
import os

# of mallopt(3): its number, the variable that tells processes begun from here, the value
TRIM, PAD, MMAP = (
    (-1, "MALLOC_TRIM_THRESHOLD_", 2**30),
    (-2, "MALLOC_TOP_PAD_", 2**26),
    (-3, "MALLOC_MMAP_THRESHOLD_", 2**25),  # the most that glibc takes
)


def keep_memory() -> bool:
    """Has glibc keep what is freed, here and in processes begun from here; whether it could.

    What the user has set in the environment stays.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None:  # another C library
        return False
    for option, name, value in (TRIM, PAD, MMAP):
        if name not in os.environ:
            mallopt(option, value)
            os.environ[name] = str(value)
    return True
