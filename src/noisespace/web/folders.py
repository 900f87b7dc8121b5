"""Where files of the page lie."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def upload_folder() -> Path:
    """Where gradio keeps files."""
    return Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio")


def beside() -> Path | None:
    """The folder that goes with the server, outside of what gradio empties; None without one."""
    place = os.environ.get("GRADIO_TEMP_DIR")
    return Path(place).parent if place else None


def folder_size(folder: Path) -> tuple[int, int]:
    """How many files are under a folder, and their bytes."""
    count = total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(root) / name).stat().st_size
                count += 1
            except OSError:  # deleted just now
                continue
    return count, total
