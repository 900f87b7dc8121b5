"""The state of a long optimisation in a file, so that an interrupted one goes on from it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from noisespace.errors import InputError
from noisespace.system.files import check_writable, write_bytes

EVERY = 5.0  # seconds between two writings


class Checkpoint:
    """A safetensors file with tensors and what they belong to; at most ``EVERY`` seconds are lost.

    Raises InputError for a file of another inversion, and for a path that cannot be written.
    """

    def __init__(self, path: str | Path, who: Any) -> None:
        """``who``: what identifies the inversion, as JSON."""
        self._path = check_writable(path, force=True)
        self._who = json.dumps(who, sort_keys=True, default=str)
        self._saved = time.monotonic()
        self._state: dict[str, Tensor] | None = None
        if self._path.exists():
            self._state = self._read()

    def load(self) -> dict[str, Tensor] | None:
        """What an interrupted run left, or None."""
        return self._state

    def save(self, state: dict[str, Tensor]) -> None:
        """Keeps the state, if the last writing is long enough ago."""
        from safetensors.torch import save

        if time.monotonic() - self._saved < EVERY:
            return
        tensors = {name: t.detach().contiguous().cpu() for name, t in state.items()}
        write_bytes(self._path, save(tensors, {"noisespace-run": self._who}), force=True)
        self._saved = time.monotonic()

    def done(self) -> None:
        """Removes the file: the inversion is finished."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Tensor]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(self._path), "pt") as file:
                who = (file.metadata() or {}).get("noisespace-run")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise InputError(f"{self._path}: is no checkpoint of an inversion ({error})") from None
        if who != self._who:
            raise InputError(
                f"{self._path}: is the checkpoint of another inversion; give the same image, "
                "prompt, method, seed and model, or another file"
            )
        return tensors
