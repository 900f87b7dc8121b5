"""What a measurement ran on: the environment, memory peaks, and the machine's own limit."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

import noisespace as ns

SIDE = 2048  # of the matrix product that stands for the machine's limit


def environment() -> dict[str, Any]:
    """Versions, processor and threads."""
    import diffusers

    return {
        "noisespace": ns.__version__,
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),  # other work beside the measurement
    }


def processor() -> str:
    """The processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def forget_peak() -> None:
    """Sets the process's peak back to what it holds now, where the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def held() -> float:
    """What the process holds now, MB; its peak where the system does not tell (not Linux)."""
    return status("VmRSS:")


def peak() -> float:
    """The process's largest memory since ``forget_peak``, MB."""
    return status("VmHWM:")


def status(name: str) -> float:
    """A line of this process's status, MB; elsewhere than on Linux its peak, whatever is asked."""
    own = Path("/proc/self/status")
    if not own.exists():
        unit = 1e6 if sys.platform == "darwin" else 1e3
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    lines = own.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / 1e6


def seconds(work: Callable[[], Any], device: torch.device | None = None) -> float:
    """Wall-clock seconds of one call, the device's queue included."""
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - start


def wait(device: torch.device | None) -> None:
    """Until a device has done all that it was given."""
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)


def matmul_rate(device: torch.device, dtype: torch.dtype, side: int = SIDE, runs: int = 5) -> float:
    """FLOP/s of a large matrix product: the machine's limit, as far as a network can have it."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    seconds(lambda: a @ b, device)  # warms up
    return 2 * side**3 / median(seconds(lambda: a @ b, device) for _ in range(runs))


def network_rate(work: Callable[[], Any], device: torch.device, runs: int = 5) -> float:
    """FLOP/s that a piece of work reaches: its operations, counted once, by its median time."""
    with FlopCounterMode(display=False) as counter:
        work()
    total = counter.get_total_flops()
    return total / median(seconds(work, device) for _ in range(runs))
