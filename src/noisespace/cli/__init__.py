"""The command line: ``noisespace COMMAND``. Heavy parts load when a command runs, not before."""

from __future__ import annotations

from noisespace.cli.app import app


def main() -> None:
    """The console script."""
    app(prog_name="noisespace")


__all__ = ["app", "main"]
