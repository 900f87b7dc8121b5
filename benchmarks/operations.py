"""Claims C10 and C11 on scenes: what noise maps survive, and what paint keeps of a texture.

    python benchmarks/operations.py [--scenes 10] [--out runs/operations]

C10: translated edit-friendly maps translate the picture, translated native ones (CycleDiffusion,
eta 1) damage it: PSNR to the translated input, all steps run. C11: the same strokes painted into
the noise maps (ColorEdit) and over the picture (SDEdit): PSNR to the true recolouring, and the
share of pictures that the judge reads as of the new colour, and of the old texture.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import noisespace as ns
from noisespace.pictures.sheet import Cell, sheet
from noisespace.study.measure import psnr
from noisespace.study.painting import (
    colour_scores,
    frozen_codes,
    painted_maps,
    painted_over,
    recoloured,
    textured,
)

SHIFT = 8  # pixels


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


def colours(model, some: list, windows, strengths) -> tuple[list[str], dict[str, list]]:
    """Lines of figures, and the pictures."""
    lines, shown = [], {}

    def say(name: str, pictures: list) -> None:
        rows = colour_scores(some, pictures)
        mean = {key: np.mean([row[key] for row in rows]) for key in rows[0]}
        shares = " | ".join(f"{mean[key]:.0%}" for key in ("colour", "texture", "all"))
        lines.append(f"| {name} | {mean['truth']:.1f} | {shares} |")
        print(lines[-1], flush=True)
        shown[name] = pictures

    seeds = [0] * len(some)
    code = frozen_codes(model, some, 100, seeds)
    for window in windows:
        say(
            f"ColorEdit, strength .05, window {window}",
            painted_maps(model, code, some, window=window),
        )
    for strength in strengths:
        pictures = painted_over(model, some, strength, 100, seeds)
        say(f"SDEdit from the strokes, strength {strength}", pictures)
    return lines, shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("runs/operations"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    model, some = ns.load("scenes"), textured(options.scenes)
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
