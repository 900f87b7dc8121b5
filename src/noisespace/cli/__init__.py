"""The command line: ``noisespace COMMAND``. Heavy parts load when a command runs, not before."""

from __future__ import annotations

import os

from noisespace.cli.app import app


def main() -> None:
    """The console script."""
    # Read by OpenMP when torch loads it. Threads that spin while they wait take the cores from
    # whatever else runs: beside one other job the demo takes minutes instead of seconds.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    app(prog_name="noisespace")


__all__ = ["app", "main"]
