"""Reconstruction by tuned and coupled inversions, on held-out two-object scenes (C4-C7, C17).

    python benchmarks/optimised.py --out runs/optimised [--guidance 7.5 1.5] [--only NAME ...]
                                    [--resume]

For each guidance and method: PSNR of the reconstruction to the input and to the autoencoder's own
(the bound), error in latents, seconds a picture, in batches of 25. Writes OUT/results.jsonl (one
line a picture; a run that was stopped goes on with --resume) and OUT/table.md.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import numpy as np
import torch
from editors import cases, psnr
from results import read, started, where, write

import noisespace as ns
from noisespace.pictures import images
from noisespace.study.tuned import variants as methods

BATCH = 25


def captions(name: str, some: list) -> list[str]:
    """The scenes' own captions, or those of other scenes."""
    own = [case.scene.caption for case in some]
    if "random caption" not in name:
        return own
    others = [case.scene.caption for case in cases(200)[100:]]
    return random.Random("captions").sample(others, len(own))


def run(model, name: str, method, w: float, some: list, seed: int) -> tuple[torch.Tensor, float]:
    """The reconstructed latents of a batch, and seconds a picture for the inversion."""
    start = time.perf_counter()
    scenes, seeds = [c.scene for c in some], [seed + i for i in range(len(some))]
    guidance = {"edict": w, "belm": w}.get(name)
    code = ns.invert(model, scenes, captions(name, some), method, guidance=guidance, seed=seeds)
    seconds = (time.perf_counter() - start) / len(some)
    return ns.reconstruct(model, code, guidance=w).latents, seconds


def measure(
    model, out: Path, count: int, weights: list[float], only: list[str] | None = None
) -> None:
    have = {(d["method"], d["w"], d["scene"]) for d in read(out)}
    every = cases(count)
    for w in weights:
        for name, method in methods(w).items():
            if only and not any(name.startswith(start) for start in only):
                continue
            for start in range(0, count, BATCH):
                some = every[start : start + BATCH]
                if all((name, w, start + i) in have for i in range(len(some))):
                    continue
                x, seconds = run(model, name, method, w, some, start)
                pixels = torch.cat([images.to_tensor(c.scene.render()) for c in some])
                x0 = model.encode(pixels)
                with torch.no_grad():
                    shown, bound = (images.to_images(model.decode(z)) for z in (x, x0))
                lines = [
                    {
                        "method": name,
                        "w": w,
                        "scene": start + i,
                        "psnr": psnr(shown[i], case.scene.render()),
                        "bound": psnr(bound[i], case.scene.render()),
                        "latent": float((x[i] - x0[i]).square().mean().sqrt()),
                        "seconds": seconds,
                    }
                    for i, case in enumerate(some)
                ]
                write(out, lines)
                print(
                    f"w {w:g} {name}: {start + len(some)} of {count}, {seconds:.2f} s", flush=True
                )


def table(out: Path) -> str:
    """results.jsonl as a markdown table, one row a method and guidance."""
    lines = read(out)
    rows = [
        "| w | method | PSNR, dB | below the bound, dB | error in latents | scenes | s a picture |",
        "|---|---|---|---|---|---|---|",
    ]
    for w in dict.fromkeys(d["w"] for d in lines):
        for name in methods(w):
            some = where(lines, method=name, w=w)
            if not some:
                continue
            below = np.array([d["bound"] - d["psnr"] for d in some])
            half = 1.96 * below.std(ddof=1) / len(below) ** 0.5
            mean = {k: np.mean([d[k] for d in some]) for k in ("psnr", "latent", "seconds")}
            rows.append(
                f"| {w:g} | {name} | {mean['psnr']:.2f} | {below.mean():.2f} +- {half:.2f} | "
                f"{mean['latent']:.4f} | {len(some)} | {mean['seconds']:.2f} |"
            )
    return "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/optimised"))
    parser.add_argument("--scenes", type=int, default=50)
    parser.add_argument("--guidance", type=float, nargs="*", default=[7.5, 1.5])
    parser.add_argument("--only", nargs="*", help="methods whose names begin so")
    parser.add_argument("--resume", action="store_true", help="go on with what OUT has")
    options = started(parser)
    measure(ns.load("scenes"), options.out, options.scenes, options.guidance, options.only)
    (options.out / "table.md").write_text(table(options.out))
    print(table(options.out))


if __name__ == "__main__":
    main()
