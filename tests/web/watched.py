"""A tiny model that can be slowed down and watched, and pictures for it."""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from noisespace.models.base import ModelWrapper

SOURCE, TARGET = "a photo of a cat", "a photo of a dog"
LONG = 60  # seconds: for machines that do something else too


def picture(seed: int = 0, size: tuple[int, int] = (32, 32)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)


def file_of(array: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


@dataclass(frozen=True)
class Watched(ModelWrapper):
    """A model that counts the calls of its network and can be held up in the middle of one."""

    calls: list[int] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    held: list[int] = field(default_factory=list)

    def denoise(self, x: Any, *rest: Any) -> Any:
        self.calls.append(len(x))
        if self.held and len(self.calls) >= self.held[0]:
            self.entered.set()
            assert self.gate.wait(LONG)
        return self.model.denoise(x, *rest)

    def hold(self, after: int = 0) -> None:
        """After so many calls from now, every call of the network waits for ``release``."""
        self.entered.clear()
        self.gate.clear()
        self.held[:] = [len(self.calls) + after + 1]

    def release(self) -> None:
        self.held.clear()
        self.gate.set()
