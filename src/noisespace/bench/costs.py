"""What work takes: seconds, network evaluations, peak memory."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from noisespace.core.backbone import Denoiser
from noisespace.core.condition import Condition
from noisespace.core.controls import HookContext
from noisespace.core.grid import Level
from noisespace.core.prediction import Prediction
from noisespace.models.base import Model, ModelWrapper

T = TypeVar("T")
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Cost:
    """``seconds``; ``evaluations``: rows that went through the network forwards; ``memory``: MB.

    Memory is the peak while the work ran, over what was held before it began (weights, inputs): of
    the tensors on an accelerator, of the whole process on a CPU (Linux; None elsewhere).
    """

    seconds: float = 0.0
    evaluations: int = 0
    memory: float | None = None


@dataclass
class Tally:
    """Rows that went through a network; whoever asks for the count holds it, no model does."""

    rows: int = 0


@dataclass(frozen=True)
class Counted(ModelWrapper):
    """A model whose network tells a tally how many rows it saw; all else is the model's own."""

    tally: Tally

    def denoise(
        self, x: Tensor, level: Level, condition: Condition, hooks: HookContext | None = None
    ) -> Prediction:
        self.tally.rows += len(x)
        return self.model.denoise(x, level, condition, hooks)

    def begin(self) -> Denoiser:
        """A replay's denoiser, counted: that of a model that caches, where it is one."""
        loop = self.model.begin()

        def counted(
            x: Tensor, level: Level, condition: Condition, hooks: HookContext | None = None
        ) -> Prediction:
            self.tally.rows += len(x)
            return loop(x, level, condition, hooks)

        return counted


def costing(model: Model, work: Callable[[Any], T], memory: bool = True) -> tuple[T, Cost]:
    """What ``work(model)`` returns, and what it took.

    Without ``memory`` that is not looked at, which on a CPU has what was freed given back first.
    """
    tally, device = Tally(), model.device
    held = reset_peak(device) if memory else None
    wait(device)
    start = time.perf_counter()
    done = work(Counted(model, tally))
    wait(device)
    seconds, most = time.perf_counter() - start, peak(device) if memory else None
    grown = None if most is None or held is None else max(0.0, most - held)
    return done, Cost(seconds, tally.rows, grown)


def wait(device: torch.device) -> None:
    """Lets an accelerator finish what was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def reset_peak(device: torch.device) -> float | None:
    """From here on the peak is counted anew; MB that are held now, None where nobody can tell."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device) / 1e6
    if device.type != "cpu":
        return None
    give_back_memory()  # what work before this one has freed is not held
    try:
        RESET.write_text("5")  # proc(5): the peak resident set becomes the present one
    except OSError:  # another system, or one that forbids it: the peak is of the process's life
        return None
    return resident("VmRSS")


def peak(device: torch.device) -> float | None:
    """The peak since ``reset_peak``, in MB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resident("VmHWM") if device.type == "cpu" else None


def resident(name: str) -> float | None:
    """A line of this process's status, in MB."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(one.split()[1]) * 1024 / 1e6 for one in lines if one.startswith(name)), None)


def give_back_memory() -> None:
    """Has glibc give back what is free; other systems do as they do."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)
