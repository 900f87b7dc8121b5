"""Claims C10 and C11 on scenes: what noise maps survive, and what paint keeps of a texture.

    python benchmarks/operations.py [--scenes 10] [--out runs/operations]

C10: translated edit-friendly maps translate the picture, translated native ones (CycleDiffusion,
eta 1) damage it: PSNR to the translated input, all steps run. C11: the same strokes painted into
the noise maps (ColorEdit) and over the picture (SDEdit): PSNR to the true recolouring, and the
share of pictures that the judge reads as of the new colour, and of the old texture.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np

import noisespace as ns
from noisespace.sheet import Cell, sheet
from noisespace.train.draw import random_scene
from noisespace.train.judge import judge
from noisespace.train.palette import COLOURS, tones

SHIFT = 8  # pixels


def psnr(a, b) -> float:
    error = (np.asarray(a, float) - np.asarray(b, float)) ** 2
    return float(-10 * np.log10(max(error.mean(), 1e-9) / 255**2))


def scenes(count: int) -> list:
    """Textured objects with room to the right."""
    rng, out = random.Random("operations"), []
    while len(out) < count:
        scene = random_scene(rng, objects=1)
        thing = scene.objects[0]
        if thing.texture != "plain" and thing.size < 17 and thing.place[0] + thing.size < 50:
            out.append(scene)
    return out


def shifts(model, some: list) -> tuple[dict[str, float], dict[str, list]]:
    """Mean PSNR to the translated input, and the pictures."""
    captions = [s.caption for s in some]
    figures, shown = {}, {}
    for name, method in (
        ("edit-friendly", ns.EditFriendly(skip=0)),
        ("native (CycleDiffusion, eta 1)", ns.CycleDiffusion(skip=0, eta=1.0)),
    ):
        code = ns.invert(model, some, captions, method, steps=100, guidance=1.0)
        pictures = ns.reconstruct(model, ns.Shift(SHIFT)(model, code)).images
        truth = [np.roll(s.render(), SHIFT, 1) for s in some]
        figures[name] = np.mean([psnr(a, b) for a, b in zip(pictures, truth, strict=True)])
        shown[f"shifted: {name}"] = pictures
    return figures, shown


def recoloured(scene):
    """The scene in another colour: the first that is neither its own nor the background's."""
    used = (scene.objects[0].colour, scene.background)
    return scene.edited(colour=next(c for c in ("red", "cyan", *COLOURS) if c not in used))


def strokes(scene, truth) -> np.ndarray:
    """The object's place painted over in the new colour, RGBA."""
    layer = np.zeros((64, 64, 4), np.uint8)
    tone = (255 * np.array(tones(truth.objects[0].colour)[0])).round()
    layer[scene.mask() > 0.5] = (*tone.astype(np.uint8), 255)
    return layer


def colours(model, some: list, windows, strengths) -> tuple[list[str], dict[str, list]]:
    """Lines of figures, and the pictures."""
    truths = [recoloured(s) for s in some]
    paints = [strokes(s, t) for s, t in zip(some, truths, strict=True)]
    lines, shown = [], {}

    def say(name: str, pictures: list) -> None:
        close = np.mean([psnr(a, t.render()) for a, t in zip(pictures, truths, strict=True)])
        read = judge(np.stack([np.asarray(p) for p in pictures]))
        things = [t.objects[0] for t in truths]
        colour = np.mean([v.colour == o.colour for v, o in zip(read, things, strict=True)])
        texture = np.mean([v.texture == o.texture for v, o in zip(read, things, strict=True)])
        both = np.mean(
            [
                (v.colour, v.texture, v.shape) == (o.colour, o.texture, o.shape)
                for v, o in zip(read, things, strict=True)
            ]
        )
        lines.append(f"| {name} | {close:.1f} | {colour:.0%} | {texture:.0%} | {both:.0%} |")
        print(lines[-1], flush=True)
        shown[name] = pictures

    codes = [ns.invert(model, s, "", ns.EditFriendly(), steps=100, guidance=1.0) for s in some]
    for window in windows:
        edits = [
            ns.ColorEdit(strokes=p, window=window)(model, c)
            for p, c in zip(paints, codes, strict=True)
        ]
        pictures = [ns.reconstruct(model, e).images[0] for e in edits]
        say(f"ColorEdit, strength .05, window {window}", pictures)
    for strength in strengths:
        pictures = []
        for scene, paint in zip(some, paints, strict=True):
            code = ns.invert(
                model, scene, "", ns.SDEdit(strength, strokes=paint, eta=1.0), steps=100
            )
            pictures.append(ns.edit(model, code, "", guidance=1.0).images[0])
        say(f"SDEdit from the strokes, strength {strength}", pictures)
    return lines, shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("runs/operations"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    model, some = ns.load("scenes"), scenes(options.scenes)
    figures, shown = shifts(model, some)
    for name, value in figures.items():
        print(f"C10, shift by {SHIFT} pixels, {name}: {value:.1f} dB to the translated input")
    _, painted = colours(
        model, some, ((0.0, 0.5), (0.0, 0.8), (0.0, 1.0)), (0.2, 0.35, 0.5, 0.65, 0.8)
    )
    columns = {**shown, **painted}
    rows = [
        [Cell(s.render(), "input"), Cell(recoloured(s).render(), "true recolouring")]
        + [Cell(pictures[i], name) for name, pictures in columns.items()]
        for i, s in enumerate(some[:4])
    ]
    sheet(rows, "Noise maps translated and painted").save(options.out / "sheet.png")


if __name__ == "__main__":
    main()
