"""Which hosts and origins are ours, and who may ask."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from noisespace.errors import InputError
from noisespace.web.tokens import SHORTEST, Once

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Access:
    """Who may ask: ``host`` is what the server listens on, ``names`` further names that it has.

    ``token``: what everybody must show where the host is not this machine alone; ``once``: a key
    for the browser that the server opens.
    """

    host: str = "127.0.0.1"
    names: tuple[str, ...] = ()
    token: str | None = None
    once: Once = field(default_factory=Once, repr=False, compare=False)

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return is_local(self.host)

    def allows(self, host: str | None) -> bool:
        """Whether a Host header is ours. A name must be known; a page of another name that has been
        pointed at our address (DNS rebinding) still sends its own."""
        name = host_name(host)
        if name is None:
            return False
        if name in LOCAL_NAMES or name in {self.host.lower(), *map(str.lower, self.names)}:
            return True
        # An address is no name that somebody could point elsewhere.
        return not self.local and is_address(name)


def check_access(access: Access) -> Access:
    """Refuses to serve more than this machine without a token."""
    if not access.local and access.token is None:
        raise InputError(
            f"--host {access.host} lets others in: give --token (or NOISESPACE_TOKEN), a secret "
            f"of at least {SHORTEST} characters that they must show"
        )
    if access.token is not None and len(access.token) < SHORTEST:
        raise InputError(f"--token must have at least {SHORTEST} characters")
    if access.token is not None and not access.token.isascii():
        raise InputError("--token must be of ASCII characters, so that every browser sends it")
    return access


def is_local(host: str) -> bool:
    """Whether an address is the machine's own loopback."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def host_name(host: str | None) -> str | None:
    """The name in a Host header without its port; None for what is no such header."""
    if not host or any(c in host for c in "/\\@?# \t"):
        return None
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # ValueError where it is none
        return parts.hostname
    except ValueError:
        return None


def same_place(origin: str, host: str) -> bool:
    """Whether an Origin is the place that a request was sent to: its name and port."""
    try:
        ours, theirs = urlsplit(f"//{host}"), urlsplit(origin)
        port = {"http": 80, "https": 443}.get(theirs.scheme)
        if port is None or theirs.hostname is None:
            return False
        return (theirs.hostname, theirs.port or port) == (ours.hostname, ours.port or port)
    except ValueError:
        return False
