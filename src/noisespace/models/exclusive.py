"""One call of a network at a time: what the hooks of a call change no other call sees."""

from __future__ import annotations

from threading import Lock, RLock
from typing import Any
from weakref import WeakKeyDictionary

# By network, not by model: several models may be made of one pipeline.
_LOCKS: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
_MAKING = Lock()


def exclusive(network: Any) -> Any:
    """The lock that is held while a network is evaluated, or while hooks are on it.

    Held by a thread for one evaluation, never for a replay; the same thread may take it again.
    """
    with _MAKING:
        return _LOCKS.setdefault(network, RLock())
