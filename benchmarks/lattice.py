"""How exactly codes give their image back: with the lattice, without it, and one step at a time.

    python benchmarks/lattice.py [--model scenes] [--dtype float32] [--steps 30 100] [--out FILE]

Largest difference of latents after a real replay of the source, alone and as a row beside two edits
under other prompts (by live preview of an edit under a mask, which runs the source's row).
"""

from __future__ import annotations

import argparse
import itertools
import json
import warnings
from pathlib import Path

import numpy as np

import noisespace as ns

SKIPS, ETAS, WEIGHTS = (0, 0.12, 0.36), (0.01, 0.1, 0.3, 1.0), (1.0, 3.5, 7.5, 15.0)
CASES = {
    "scenes": (
        "a dotted green cross on a yellow background",
        ["a dotted blue cross on a yellow background", "a striped red star on a white background"],
    ),
    "photos": ("a photo of a navy t-shirt", ["a photo of a red t-shirt", "a photo of a lemon"]),
}


def variants(skip: float, eta: float) -> dict[str, object]:
    ef, cycle = ns.EditFriendly, ns.CycleDiffusion
    return {
        "edit-friendly": ef(skip, eta),
        "edit-friendly, no lattice": ef(skip, eta, lattice=False),
        "edit-friendly, sequential": ef(skip, eta, order="sequential"),
        "cycle-diffusion": cycle(skip, eta),
        "cycle-diffusion, no lattice": cycle(skip, eta, lattice=False),
    }


def measure(model, x0, method, *, steps: int, w: float, name: str) -> dict:
    """One inversion and its replays."""
    source, targets = CASES[name]
    code = ns.invert(model, x0, source, method, steps=steps, guidance=w)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        alone = ns.reconstruct(model, code).latents
        mask = np.zeros((64, 64), bool)
        mask[:8] = True
        run = ns.edit_steps(model, code, targets, guidance=w, mask=mask)
        for step in run:
            last = step.step
    away = [float((x - x0).abs().max()) for x in (alone, last.x[:, 0])]
    left = sum("left its path" in str(one.message) for one in said)
    return {"alone": away[0], "beside": away[1], "lattice": code.lattice, "left": left,
            "margin": code.info.lattice_margin}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="scenes", choices=list(CASES))
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--steps", type=int, nargs="+", default=[30, 100])
    parser.add_argument("--only", nargs="+", default=["edit-friendly", "cycle-diffusion"])
    parser.add_argument("--weights", type=float, nargs="+", default=list(WEIGHTS))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    model = ns.load(args.model, dtype=args.dtype, device="cpu")
    source, _ = CASES[args.model]
    x0 = ns.sample(model, source, steps=20, seed=5).latents
    rows = []
    for steps, w, skip, eta in itertools.product(args.steps, args.weights, SKIPS, ETAS):
        for name, method in variants(skip, eta).items():
            if name in args.only:
                found = measure(model, x0, method, steps=steps, w=w, name=args.model)
                rows.append(
                    {"method": name, "steps": steps, "w": w, "skip": skip, "eta": eta, **found}
                )
                print(json.dumps(rows[-1]), flush=True)
    for name in args.only:
        some = [r for r in rows if r["method"] == name]
        print(name, *(f"{k} {max(r[k] for r in some):.1e}" for k in ("alone", "beside")))
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
