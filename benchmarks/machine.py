"""What a benchmark says of its machine: environment, matrix products, FLOPs, memory, clocks."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # between the lines of progress
MMAP = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}  # blocks above 1 MiB go back to the system at once


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, the machine's kind and its load; no names of hosts or paths."""
    import diffusers

    known = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "system": platform.system(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),
        "device": "cpu",
    }
    if device.type == "cuda":
        known["device"] = torch.cuda.get_device_name(device)
    return known


def cpu_name() -> str:
    """The processor's model, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


SAME = ("cpu", "cores", "threads", "device", "torch", "diffusers", "quick", "trial", "steps")


def check_same(before: dict[str, Any], now: dict[str, Any], file: Path) -> None:
    """Refuses to go on with figures of another machine, other versions or other options."""
    for name in SAME:
        if name in before and before[name] != now.get(name):
            raise SystemExit(
                f"{file} was measured with {name} {before[name]}, this is {now.get(name)}: start "
                "anew without --resume, or with another --out"
            )


def written(file: Path) -> dict[str, Any]:
    """What a file has from before, or an end in one sentence where it is not ours."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {"environment": dict(found["environment"]), **found}
    except (ValueError, KeyError, TypeError, OSError) as error:
        told = f"{file} cannot be gone on with ({type(error).__name__}): not a file of this script?"
        raise SystemExit(told) from None


def stoppable(main: Callable[[], None]) -> None:
    """Runs a script; Ctrl-C ends it in one line."""
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(
            "stopped; what was written is kept (--resume, where there is one)"
        ) from None


def wait(device: torch.device) -> None:
    """Until what was launched is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def clock(work: Callable[[], Any], device: torch.device | None = None) -> tuple[float, Any]:
    """Seconds of a piece of work, and what it gave."""
    device = device or torch.device("cpu")
    wait(device)
    start = time.perf_counter()
    out = work()
    wait(device)
    return time.perf_counter() - start, out


def matmul_rate(device: torch.device, dtype: torch.dtype, side: int = 2048, runs: int = 7) -> float:
    """FLOP/s of a large matrix product: the median of a few, after a first one that warms up."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    seconds = [clock(lambda: a @ b, device)[0] for _ in range(runs + 1)][1:]
    return 2 * side**3 / median(seconds)


def flops_of(work: Callable[[], Any]) -> int:
    """The FLOPs of a piece of work (convolutions, products, attention)."""
    from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

    def packed(x: Any, weight: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return conv_flop_count(x, weight, out_shape)

    # torch's counter does not know the operator of packed weights (noisespace.models.packed)
    operator = getattr(torch.ops.mkldnn, "_convolution_pointwise", None)  # not in every build
    known = {} if operator is None else {operator: packed}
    with FlopCounterMode(display=False, custom_mapping=known) as counter:
        work()
    return counter.get_total_flops()


def status(name: str) -> float:
    """A line of this process's status, MB; Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / 1e6


def grown(work: Callable[[], Any]) -> float | None:
    """By how much the peak of this process's memory rises above what it held before, MB.

    The peak is set back first, so that what loading took does not hide it: Linux only, None
    elsewhere, where the work is done all the same.
    """
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        work()
        return None
    reset.write_text("5")
    before = status("VmRSS")
    work()
    return max(0.0, status("VmHWM") - before)


def apart(file: str, *arguments: str) -> Any:
    """The last line, JSON, of a script run in a process of its own."""
    own = {**os.environ, **MMAP}
    command = [sys.executable, "-W", "ignore", file, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=own)
    return json.loads(done.stdout.splitlines()[-1])
