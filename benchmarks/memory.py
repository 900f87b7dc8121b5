"""Peak memory on a random network of Stable Diffusion 1.5's size: null-text against the textbook.

    python benchmarks/memory.py [--sides 32 64] [--batches 1 2] [--steps 1] [--iterations 2]

Sides are those of the latents (64: pictures of 512 pixels). Every variant runs in a process of its
own: the weights (860 M, float32, random, nothing is downloaded) are built, then the process's peak
is set back, so that a growth is the work's alone. Blocks above 1 MiB go back to the system at once
(MALLOC_MMAP_THRESHOLD_): what the allocator holds for later is not counted. Linux; up to 13 GB.
More steps and iterations change nothing, but the textbook needs a second iteration for its peak:
only then are the gradients of the weights there while activations are kept.

"kept": what a pass keeps for its way back, as counted from the graph, the formula of
docs/optimised.md. "forward": one evaluation without gradients.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import machine
import textbook
import torch
from diffusers import UNet2DConditionModel
from machine import status
from networks import SCHEDULE

from noisespace.core.condition import TEXT, Condition
from noisespace.inversion import NullText, Problem
from noisespace.inversion.tuning.recompute import Kept, same
from noisespace.models.diffusion import DiffusionModel
from noisespace.models.families.stable_diffusion import StableDiffusion
from noisespace.models.schedules import Schedule

VARIANTS = ("forward", "textbook", "plain", "recomputed")
TOKENS, WIDTH = 77, 768
GUIDANCE = 100.0  # at 7.5 a random network's loss is small enough to stop after one iteration


@dataclass(frozen=True)
class Bare:
    """The parts of a model that an inversion of latents needs; ``rows`` embeddings a prompt."""

    unet: Any
    rows: int = 1

    def grid(self, steps: int) -> Any:
        return self.latent.grid(steps)

    @property
    def latent(self) -> DiffusionModel:
        schedule = Schedule("DDIMScheduler", SCHEDULE)
        return DiffusionModel(self.unet, StableDiffusion(None), None, schedule)

    def embed(self, prompts: list[str]) -> Condition:
        prompts = prompts * self.rows
        seeds = [torch.Generator().manual_seed(len(prompt)) for prompt in prompts]
        rows = [torch.randn(TOKENS, WIDTH, generator=g) for g in seeds]
        return Condition({TEXT: torch.stack(rows)}, tuple(prompts))


def build() -> Bare:
    """The U-Net of Stable Diffusion 1.5, with random weights."""
    torch.manual_seed(0)
    # all else is diffusers' default, which is that of Stable Diffusion 1
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=WIDTH, attention_head_dim=8)
    return Bare(unet.eval().requires_grad_(False))


def kept(unet: Any, x: torch.Tensor, text: Condition, variant: str) -> float:
    """What a pass keeps for its way back, MB; 0 for one without gradients."""
    if variant == "forward":
        return 0.0
    count = Kept(unet)
    unet.requires_grad_(variant == "textbook")
    if variant == "recomputed":
        unet.enable_gradient_checkpointing()
    with torch.autograd.graph.saved_tensors_hooks(count, same):
        leaf = text.embedding.clone().requires_grad_()
        unet(x, torch.tensor(500.0), encoder_hidden_states=leaf)
    unet.disable_gradient_checkpointing()
    unet.requires_grad_(False)
    return count.bytes / 1e6


def work(model: Bare, variant: str, x0: torch.Tensor, steps: int, iterations: int) -> None:
    """What is measured."""
    prompts = ["a cat"] * len(x0)
    if variant == "textbook":
        model.network.requires_grad_(True)  # as the public notebook leaves it
        wide = replace(model, rows=len(x0))  # the loop knows one prompt
        often = {"steps": steps, "iterations": iterations}
        textbook.null_text(wide, x0, "a cat", w=GUIDANCE, **often)
        return
    text, null = model.embed(prompts), model.embed([""] * len(x0))
    grid, denoise = model.grid(steps), model.latent.denoise
    with torch.no_grad():
        if variant == "forward":
            denoise(x0, grid.level(0), text)
            return
        drawn = [torch.Generator() for _ in x0]
        problem = Problem(denoise, grid, x0, text, null, 1.0, drawn, model=model.latent)
        NullText(
            GUIDANCE, iterations, solver="gauss-newton", recompute=variant == "recomputed"
        ).invert(problem)


def one(variant: str, side: int, batch: int, steps: int, iterations: int) -> dict[str, float]:
    """Measures a variant in this process."""
    model, drawn = build(), torch.Generator().manual_seed(0)
    x0 = torch.randn(batch, 4, side, side, generator=drawn)
    text = model.embed(["a cat"] * batch)
    with torch.no_grad():  # what the first call of a kernel loads is not the work's
        model.latent.denoise(x0[:1, :, :8, :8], model.grid(1).level(0), text.rows([0]))
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is held now
    before, start = status("VmRSS"), time.perf_counter()
    work(model, variant, x0, steps, iterations)
    seconds, peak = time.perf_counter() - start, status("VmHWM")
    row = {"peak": peak, "grew": peak - before, "seconds": seconds}
    for p in model.network.parameters():
        p.grad = None
    return {**row, "kept": kept(model.network, x0, text, variant)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sides", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--one", nargs=3, metavar=("VARIANT", "SIDE", "BATCH"), help="as JSON")
    options = parser.parse_args()
    often = (options.steps, options.iterations)
    if options.one:
        variant, side, batch = options.one
        print(json.dumps(one(variant, int(side), int(batch), *often)))
        return
    print("| latents | batch | variant | kept, MB | grew by, MB | peak, MB | grew | peak | s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for side in options.sides:
        for batch in options.batches:
            first: dict[str, float] = {}
            for variant in options.variants:
                row = apart(variant, side, batch, *often)
                first = row if variant == "textbook" else first
                shares = (f"{row[k] / first[k]:.0%}" if first else "" for k in ("grew", "peak"))
                cells = [f"{row[k]:.0f}" for k in ("kept", "grew", "peak")]
                cells += [*shares, f"{row['seconds']:.0f}"]
                print(f"| {side} | {batch} | {variant} | {' | '.join(cells)} |", flush=True)


def apart(variant: str, side: int, batch: int, steps: int, iterations: int) -> dict[str, float]:
    """Measures a variant in a process of its own."""
    often = ("--steps", str(steps), "--iterations", str(iterations))
    return machine.apart(__file__, "--one", variant, str(side), str(batch), *often)


if __name__ == "__main__":
    main()
