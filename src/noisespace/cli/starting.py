"""A start that looks for no garbage: a third of the time until a command's first step.

Importing torch, diffusers and transformers makes a million objects that stay. Python goes through
them again and again, for cycles that nobody uses any more, and once more when the process ends.
Only for processes of our own, as with what `allocator` does.
"""

from __future__ import annotations

import atexit
import gc

_waiting = False  # whether this process has begun and is not there yet


def begin() -> None:
    """Nothing is collected until `begun`, nor at the end what the system takes back anyway."""
    global _waiting
    _waiting = True
    gc.disable()
    atexit.register(gc.freeze)


def begun() -> None:
    """What is there by now stays; what comes after it is collected as usual.

    Nothing happens where no `begin` was, in a program that calls the commands itself.
    """
    global _waiting
    if _waiting:
        _waiting = False
        gc.freeze()
        gc.enable()
