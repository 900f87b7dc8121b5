"""The guidance of each method that suits `photos`, on edits of training images.

    python benchmarks/tune_photos.py --data FOLDER [--pairs 16]

A guidance scores the share of edits that the model's alignment model gives to the target rather
than to the source, less the LPIPS (AlexNet) to the input. Used once, on images that no figure is
about, to fill "methods" in the model's noisespace.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from photo_pairs import pairs

import noisespace as ns
from noisespace.bench.lpips import LPIPS
from noisespace.pictures import images
from noisespace.train.folder import read_folder

METHODS = {
    "edit-friendly": (ns.EditFriendly(), (1.0, 3.5), (3.0, 5.0, 7.5, 10.0)),
    "cycle-diffusion": (ns.CycleDiffusion(), (1.0,), (2.0, 3.0, 5.0, 7.5)),
    "ddim": (ns.DDIM(), (1.0,), (1.5, 2.0, 3.0, 5.0, 7.5)),
    "direct": (ns.Direct(), (1.0,), (2.0, 3.0, 5.0, 7.5)),
    "negative-prompt": (ns.NegativePrompt(), (1.0,), (1.5, 2.0, 3.0, 5.0)),
    "prox-npi": (ns.ProxNPI(), (1.0,), (2.0, 3.0, 5.0, 7.5)),
    "sdedit": (ns.SDEdit(), (1.0,), (2.0, 3.0, 5.0, 7.5)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--model", default="photos")
    options = parser.parse_args()
    model, lpips = ns.load(options.model), LPIPS("alex")
    towers = ns.load_alignment(options.model)
    data = read_folder(options.data, model.resolution)
    some = pairs(data, options.pairs // 2, options.pairs // 2, unseen=False)
    inputs = [p.image(data) for p in some]
    sources, targets = [p.source for p in some], [p.target for p in some]
    x = torch.cat([images.to_tensor(v) for v in inputs]).float()
    for name, (method, inverting, editing) in METHODS.items():
        for w in inverting:
            code = ns.invert(model, inputs, sources, method, guidance=w)
            for v in editing:
                result = ns.edit(model, code, targets, guidance=v)
                y = torch.cat([images.to_tensor(np.asarray(i)) for i in result.images]).float()
                with torch.no_grad():
                    away = float(lpips(x, y).mean())
                    won = (towers(y, targets) > towers(y, sources)).float().mean()
                print(
                    f"{name} invert {w} edit {v}: {float(won) - away:.3f} "
                    f"(target {float(won):.0%}, LPIPS {away:.3f})",
                    flush=True,
                )


if __name__ == "__main__":
    main()
