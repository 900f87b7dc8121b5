"""What a million pictures take on N GPUs, predicted, and what limits it: no measurement.

    python benchmarks/million.py [--rate 250] [--page docs/performance.md]

FLOPs are counted on networks without weights (the meta device), evaluations are those that the
tests count: 100 steps, skip 36 %, both guides, an inversion and an edit. ``--rate``: TFLOP/s that a
GPU sustains on the network, as benchmarks/gpu.py measures it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from machine import flops_of
from networks import SIZES, Size, unet_of, vae_of
from page import check_place, put, table

PICTURES, GPUS = 1_000_000, (1, 8, 64, 512)
STEPS_RUN, GUIDES, PASSES = 64, 2, 2  # of 100 steps, skip 36; null and text; inversion and edit
PICTURE_MB = 2.0  # read and written, a picture
STORE_MB_S = 1000.0  # what a store gives one job, assumed
LOADING_S = 60.0  # of a worker's start: process, weights, first batch


@dataclass(frozen=True)
class Job:
    """A million inversions and edits by one network at one size."""

    network: str
    side: int
    network_flops: float  # a picture
    codec_flops: float  # of its encoding and decoding
    rate: float  # FLOP/s

    @property
    def flops(self) -> float:
        return self.network_flops + self.codec_flops

    @property
    def seconds(self) -> float:
        """Of one GPU, a picture."""
        return self.flops / self.rate

    def hours(self, gpus: int) -> float:
        """A worker's start, then one GPU's work or the store's traffic, whichever is longer."""
        work, store = PICTURES * self.seconds / gpus, PICTURES * PICTURE_MB / STORE_MB_S
        return (max(work, store) + LOADING_S) / 3600

    def traffic(self, gpus: int) -> float:
        """MB/s that so many GPUs read and write."""
        return PICTURE_MB * gpus / self.seconds

    @property
    def saturating(self) -> int:
        """The GPUs from which on the store is the limit."""
        return round(STORE_MB_S / self.traffic(1))


def evaluation(size: Size, side: int) -> float:
    """FLOPs of one row of a U-Net at a picture's side."""
    with torch.device("meta"), torch.no_grad():
        unet = unet_of(size)
        x, text = torch.empty(1, 4, side // 8, side // 8), torch.empty(1, 77, size.text)
        return flops_of(lambda: unet(x, 500, encoder_hidden_states=text))


def codec(size: Size, side: int) -> float:
    """FLOPs of encoding a picture and decoding its edit."""
    with torch.device("meta"), torch.no_grad():
        vae = vae_of(size)
        picture, x = torch.empty(1, 3, side, side), torch.empty(1, 4, side // 8, side // 8)
        return flops_of(lambda: (vae.encode(picture), vae.decode(x)))


def jobs(rate: float, networks=("sd-1.5", "sdxl"), sides=(512, 1024)) -> list[Job]:
    rows = STEPS_RUN * GUIDES * PASSES
    return [
        Job(name, side, rows * evaluation(size, side), codec(size, side), rate)
        for name, size in ((name, SIZES[name]) for name in networks)
        for side in sides
    ]


def text_of(some: list[Job]) -> str:
    """The table."""
    rows = [
        [
            job.network,
            str(job.side),
            f"{job.flops / 1e12:.0f}",
            f"{job.codec_flops / job.flops:.1%}",
            f"{job.seconds:.2f}",
            *(f"{job.hours(n):,.1f}" + " (store)" * (n > job.saturating) for n in GPUS),
            str(job.saturating),
        ]
        for job in some
    ]
    heads = ["network", "pixels", "TFLOP a picture", "of it encoding and decoding", "s a picture"]
    heads += [f"hours on {n} GPU{'s' * (n > 1)}" for n in GPUS]
    heads += ["GPUs that the store feeds"]
    return "\n".join(
        [
            f"At {some[0].rate / 1e12:.0f} TFLOP/s a GPU on the network, {PICTURE_MB:.0f} MB read "
            f"and written a picture by a store of {STORE_MB_S / 1e3:.0f} GB/s, {LOADING_S:.0f} s "
            "to start a worker; (store): the store is the limit, else the network.",
            "",
            table(heads, rows),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=250.0, help="TFLOP/s on the network")
    parser.add_argument("--page", type=Path, help="also the table of docs/performance.md")
    options = parser.parse_args()
    if not 0 < options.rate < float("inf"):
        parser.error(f"--rate must be above 0 TFLOP/s, got {options.rate}")
    check_place(options.page, "million")
    told = text_of(jobs(options.rate * 1e12))
    print(told)
    if options.page:
        put(options.page, "million", told)


if __name__ == "__main__":
    main()
