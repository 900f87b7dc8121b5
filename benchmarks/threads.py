"""One thread against all of them by the rows of an evaluation, where waiting threads sleep.

OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=0 python benchmarks/threads.py

What decides ``noisespace.models.running.LEAST``.
"""

from __future__ import annotations

from statistics import median

import torch
from machine import clock
from networks import random_model

import noisespace as ns
from noisespace.models.running import LEAST, sleepy, work_of

ROWS = (1, 2, 4, 8, 16, 32, 128)


def main() -> None:
    if not sleepy():
        raise SystemExit("set OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=0 before python starts")
    most = torch.get_num_threads()
    models = {"scenes": ns.load("scenes", device="cpu"), "sd-10m": random_model("sd-10m")}
    for name, model in models.items():
        for rows in ROWS:
            x = torch.randn(rows, 4, 16, 16)
            text = torch.randn(rows, 32, model.network.config.cross_attention_dim)
            work = work_of(model.weights, x)
            one, all_ = timed(model.network, x, text, most)
            taken = 1 if work < LEAST else most
            print(
                f"{name}, {rows} rows ({work:.1e}): 1 thread {1e3 * one:.0f} ms, {most} threads "
                f"{1e3 * all_:.0f} ms; {taken} taken",
                flush=True,
            )


def timed(unet: torch.nn.Module, x: torch.Tensor, text: torch.Tensor, most: int) -> list[float]:
    """Median seconds with one thread and with all, in turn."""
    seconds: dict[int, list[float]] = {1: [], most: []}
    with torch.inference_mode():
        for _ in range(8):
            for count, times in seconds.items():
                torch.set_num_threads(count)
                times.append(clock(lambda: unet(x, 500, encoder_hidden_states=text))[0])
    return [median(times[1:]) for times in seconds.values()]


if __name__ == "__main__":
    main()
