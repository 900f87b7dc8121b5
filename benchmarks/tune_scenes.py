"""The guidance of each method that suits `scenes`: mean PSNR to the true edit over a few scenes.

    python benchmarks/tune_scenes.py [--scenes 12]

Used once, on seeds that no test or figure uses, to fill "methods" in the model's noisespace.json.
"""

from __future__ import annotations

import argparse
import random

import numpy as np

import noisespace as ns
from noisespace.study.measure import psnr
from noisespace.train.draw import random_scene
from noisespace.train.palette import COLOURS, TEXTURES

METHODS = {
    "edit-friendly": (ns.EditFriendly(), (1.0, 3.5), (2.0, 3.5, 5.0, 7.5)),
    "cycle-diffusion": (ns.CycleDiffusion(), (1.0,), (1.5, 2.0, 3.0, 4.5)),
    "ddim": (ns.DDIM(), (1.0,), (1.5, 2.0, 3.0, 4.5)),
    "direct": (ns.Direct(), (1.0,), (1.5, 2.0, 3.0, 4.5)),
    "negative-prompt": (ns.NegativePrompt(), (1.0,), (1.0, 1.5, 2.0, 3.0)),
    "prox-npi": (ns.ProxNPI(), (1.0,), (1.5, 2.0, 3.0, 4.5)),
    "sdedit": (ns.SDEdit(), (1.0,), (1.5, 2.0, 3.0, 4.5)),
}


def cases(count: int) -> list:
    """(scene, its true edit): colour, texture and background edits in turn."""
    rng, out = random.Random("tune methods"), []
    for i in range(count):
        scene = random_scene(rng, objects=1)
        thing = scene.objects[0]
        free = [c for c in COLOURS if c not in (thing.colour, scene.background)]
        change = (
            {"colour": rng.choice(free)},
            {"texture": rng.choice([t for t in TEXTURES if t != thing.texture])},
            {"background": rng.choice(free)},
        )[i % 3]
        out.append((scene, scene.edited(**change)))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--model", default="scenes")
    options = parser.parse_args()
    model, pairs = ns.load(options.model), cases(options.scenes)
    print(f"input: {np.mean([psnr(a, b) for a, b in pairs]):.2f} dB")
    for name, (method, inverting, editing) in METHODS.items():
        for w in inverting:
            code = ns.invert(
                model, [s for s, _ in pairs], [s.caption for s, _ in pairs], method, guidance=w
            )
            for v in editing:
                result = ns.edit(model, code, [t.caption for _, t in pairs], guidance=v)
                mean = np.mean(
                    [psnr(a, t.render()) for a, (_, t) in zip(result.images, pairs, strict=True)]
                )
                print(f"{name} invert {w} edit {v}: {mean:.2f} dB", flush=True)


if __name__ == "__main__":
    main()
