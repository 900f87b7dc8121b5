"""Where a server listens, and how it ends."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from noisespace.errors import InputError


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that is bound before anything is loaded. Raises InputError where that fails."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InputError(f"--host {host}: {error.strerror or error}") from None
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(place)
            listener.listen()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InputError(
                f"{address(host, port)} cannot be used ({reason}): choose another --port, or 0 for "
                "any free one"
            ) from None
        yield listener


def address(host: str, port: int) -> str:
    """The URL of a server that listens there."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}/"


@contextmanager
def stopping() -> Iterator[None]:
    """SIGTERM, and a terminal that is closed, end what is inside as Ctrl-C does: its files go.

    While uvicorn serves, the signal is its own; it ends the server, puts this handler back and
    raises the signal once more.
    """

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    def hang_up(*_: Any) -> None:
        signal.raise_signal(signal.SIGTERM)

    handlers = {signal.SIGTERM: stop}
    hang = getattr(signal, "SIGHUP", None)  # Windows has none
    if hang is not None and signal.getsignal(hang) != signal.SIG_IGN:  # as nohup wishes
        handlers[hang] = hang_up
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
