"""What work takes: seconds, network evaluations, peak memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from noisespace.denoiser import Denoiser, Text, Touch
from noisespace.models.base import Around, Model
from noisespace.models.caching import loop_of
from noisespace.prediction import Prediction
from noisespace.schedule import Level

T = TypeVar("T")
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Cost:
    """``seconds``; ``evaluations``: rows that went through the network forwards; ``memory``: MB.

    Memory is the peak while the work ran, weights and all: of the tensors on an accelerator, of the
    whole process on a CPU (Linux; None elsewhere).
    """

    seconds: float = 0.0
    evaluations: int = 0
    memory: float | None = None


@dataclass
class Tally:
    """Rows that went through a network; whoever asks for the count holds it, no model does."""

    rows: int = 0


@dataclass(frozen=True)
class Counted(Around):
    """A model whose network tells a tally how many rows it saw; all else is the model's own."""

    tally: Tally

    def denoise(
        self, x: Tensor, level: Level, text: Text, touch: Touch | None = None
    ) -> Prediction:
        self.tally.rows += len(x)
        return self.model.denoise(x, level, text, touch)

    def begin(self) -> Denoiser:
        """A replay's denoiser, counted: that of a model that caches, where it is one."""
        loop = loop_of(self.model)

        def counted(x: Tensor, level: Level, text: Text, touch: Touch | None = None) -> Prediction:
            self.tally.rows += len(x)
            return loop(x, level, text, touch)

        return counted


def costing(model: Model, work: Callable[[Any], T]) -> tuple[T, Cost]:
    """What ``work(model)`` returns, and what it took."""
    tally, device = Tally(), model.device
    reset_peak(device)
    wait(device)
    start = time.perf_counter()
    done = work(Counted(model, tally))
    wait(device)
    return done, Cost(time.perf_counter() - start, tally.rows, peak(device))


def wait(device: torch.device) -> None:
    """Lets an accelerator finish what was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def reset_peak(device: torch.device) -> None:
    """From here on the peak is counted anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif RESET.exists():
        with suppress(OSError):  # where a system forbids it, the peak is of the process's life
            RESET.write_text("5")  # proc(5): the peak resident set becomes the present one


def peak(device: torch.device) -> float | None:
    """The peak since ``reset_peak``, in MB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if device.type != "cpu" or not STATUS.exists():
        return None
    for line in STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return None
