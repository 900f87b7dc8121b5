"""Null-text inversion against the textbook loop: seconds, PSNR and peak memory a picture.

    python benchmarks/null_text.py [--pictures 3] [--guidance 7.5]

Same network, same held-out scenes, each variant in a process of its own; memory is what its
peak grew by over a DDIM inversion of the same pictures.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
import textbook
import torch
from editors import cases, psnr

import noisespace as ns
from noisespace.pictures import images

VARIANTS = ("textbook", "adam", "gauss-newton", "recomputed", "batch")


def peak() -> float:
    """The process's largest memory so far, MB (Linux counts kilobytes, macOS bytes)."""
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def one(variant: str, count: int, w: float) -> dict[str, float]:
    """Runs a variant on ``count`` pictures in this process."""
    model, some = ns.load("scenes"), cases(count)
    scenes, prompts = [c.scene for c in some], [c.scene.caption for c in some]
    for scene, prompt in zip(scenes, prompts, strict=True):
        ns.reconstruct(model, ns.invert(model, scene, prompt, ns.DDIM()), guidance=w)
    before = peak()
    solver = "adam" if variant == "adam" else "gauss-newton"
    method = ns.NullText(guidance=w, solver=solver, recompute=variant == "recomputed")
    if variant == "textbook":
        model.network.requires_grad_(True)  # as the public notebook leaves it
        x0 = [model.encode(images.to_tensor(scene.render())) for scene in scenes]
        start = time.perf_counter()
        found = [textbook.null_text(model, x, p, w=w)[1] for x, p in zip(x0, prompts, strict=True)]
        seconds, after = time.perf_counter() - start, peak()
        states = torch.cat(found).detach()
    else:
        groups = [slice(None)] if variant == "batch" else [slice(i, i + 1) for i in range(count)]
        start = time.perf_counter()
        codes = [ns.invert(model, scenes[g], prompts[g], method) for g in groups]
        seconds, after = time.perf_counter() - start, peak()
        states = torch.cat([ns.reconstruct(model, code).latents for code in codes])
    with torch.no_grad():
        pictures = images.to_images(model.decode(states))
    near = [psnr(p, s.render()) for p, s in zip(pictures, scenes, strict=True)]
    return {"seconds": seconds / count, "psnr": float(np.mean(near)), "grew": after - before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=3)
    parser.add_argument("--guidance", type=float, default=7.5)
    parser.add_argument("--one", choices=VARIANTS, help="only this one, as JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one, options.pictures, options.guidance)))
        return
    print("| variant | s a picture | against textbook | PSNR, dB | memory grew by, MB |")
    print("|---|---|---|---|---|")
    first = None
    for variant in VARIANTS:
        settings = ["--pictures", str(options.pictures), "--guidance", str(options.guidance)]
        command = [sys.executable, __file__, "--one", variant, *settings]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        row = json.loads(done.stdout.splitlines()[-1])
        first = first or row["seconds"]
        print(
            f"| {variant} | {row['seconds']:.2f} | {first / row['seconds']:.1f}x | "
            f"{row['psnr']:.2f} | {row['grew']:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
