"""The command line: ``noisespace COMMAND``. Heavy parts load when a command runs, not before."""

from __future__ import annotations

import os
import sys

from noisespace.cli.allocator import keep_memory
from noisespace.cli.app import app
from noisespace.cli.outcome import say
from noisespace.cli.starting import begin


def main() -> None:
    """The console script."""
    # Read by OpenMP when torch loads it. Threads that spin while they wait take the cores from
    # whatever else runs: beside one other job the demo takes minutes instead of seconds.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    keep_memory()
    begin()
    try:
        code = app(prog_name="noisespace", standalone_mode=False)
    except Exception as error:
        sys.exit(usage_error(error))
    sys.exit(code or 0)


def usage_error(error: Exception) -> int:
    """Says in one sentence what typer could not read; everything else goes on as it is."""
    message = getattr(error, "format_message", None)
    if message is None:
        raise error
    context = getattr(error, "ctx", None)
    text = " ".join(message().split())
    if context is not None and text:
        say(f"error: {text} (see {context.command_path} --help)")
    return getattr(error, "exit_code", 2)


__all__ = ["app", "main"]
