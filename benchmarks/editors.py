"""Inversion x editor on held-out two-object scenes whose true edits are known.

    python benchmarks/editors.py --out runs/editors [--scenes 100] [--resume]

Five kinds of edit in turn (colour, shape, texture, background, one object removed). For each pair:
PSNR outside the edited object to the input (structure), PSNR to the true edit, the share of
pictures that the judge reads as asked, and whose other object it still reads right, and seconds an
edit, all scenes in batches of ten. Writes OUT/results.jsonl (one line a picture: a run that was
stopped goes on with --resume), OUT/table.md and OUT/sheet.png.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from results import read, started, where, write

import noisespace as ns
from noisespace.bench.scenes import KINDS, grown
from noisespace.bench.scenes import SceneEdit as Case
from noisespace.bench.scenes import scene_edits as cases
from noisespace.pictures import images
from noisespace.study.measure import psnr
from noisespace.study.two_objects import iou, scores

BATCH = 10

INVERSIONS = {
    "ddim": ns.DDIM(),
    "negative-prompt": ns.NegativePrompt(),
    "direct": ns.Direct(),
    "cycle-diffusion": ns.CycleDiffusion(),
    "edit-friendly": ns.EditFriendly(),
    "edit-friendly skip .12": ns.EditFriendly(skip=0.12),
    "null-text": ns.NullText(
        guidance=1.5, solver="gauss-newton"
    ),  # the model's own guidance for such methods
    "prompt-tuning": ns.PromptTuning(guidance=1.5, solver="gauss-newton"),
    "edict": ns.EDICT(),
    "belm": ns.BELM(),
}
EDITORS = {
    "none": None,
    "prompt-to-prompt": ns.PromptToPrompt(),
    "masactrl": ns.MasaCtrl(),
    "plug-and-play": ns.PlugAndPlay(),
    "pix2pix-zero": ns.Pix2PixZero(0.03),
    "diffedit": ns.DiffEdit(),
    "p2p cross .6 self .2": ns.PromptToPrompt(cross=0.6, self_=0.2),  # published for edit-friendly
    "p2p + true mask": ns.PromptToPrompt(),
    "p2p + blend": ns.PromptToPrompt(),  # LocalBlend on each scene's own word
}


# what the table shows: two inversions with every editor, the others with the two plainest
PAIRS = [("autoencoder", "none")]  # encoded and decoded, nothing else: the bound outside the edit
PAIRS += [(i, e) for i in ("ddim", "edit-friendly") for e in EDITORS]
PAIRS += [(i, e) for i in INVERSIONS for e in ("none", "prompt-to-prompt") if (i, e) not in PAIRS]
PAIRS += [("edit-friendly skip .12", "p2p cross .6 self .2")]


def run_pair(model, some: list[Case], inversion: str, editor: str) -> tuple[list, list, float]:
    """The pictures and masks of one batch, and seconds a picture."""
    if editor == "p2p + blend" and len(some) > 1:  # its words differ from scene to scene
        alone = [run_pair(model, [case], inversion, editor) for case in some]
        pictures = [picture for one in alone for picture in one[0]]
        return pictures, [None] * len(some), sum(one[2] for one in alone) / len(some)
    start = time.perf_counter()
    if inversion == "autoencoder":
        pixels = torch.cat([images.to_tensor(c.scene.render()) for c in some])
        seen = images.to_images(model.decode(model.encode(pixels)))
        return seen, [None] * len(some), (time.perf_counter() - start) / len(some)
    sources, targets = [c.scene.caption for c in some], [c.truth.caption for c in some]
    seeds = list(range(len(some)))
    code = ns.invert(model, [c.scene for c in some], sources, INVERSIONS[inversion], seed=seeds)
    mask = [grown(c.touched) for c in some] if "true mask" in editor else None
    control = EDITORS[editor]
    if editor == "p2p + blend":
        control = ns.PromptToPrompt(blend=some[0].blend)
    result = ns.edit(model, code, targets, editor=control, mask=mask)
    masks = result.mask if editor == "diffedit" else [None] * len(some)
    masks = masks if isinstance(masks, list) else [masks]
    return [np.asarray(i) for i in result.images], masks, (time.perf_counter() - start) / len(some)


def place(case: Case, mask) -> float:
    """IoU of an automatic mask and the true one, at the latent's size."""
    return iou(case.touched, np.asarray(mask.resize((16, 16), 0)) > 127)


def measure(model, all_cases: list[Case], out: Path, pairs: list[tuple[str, str]]) -> None:
    """Runs what results.jsonl does not have yet."""
    have = {(d["inversion"], d["editor"], d["scene"]) for d in read(out)}
    for start in range(0, len(all_cases), BATCH):
        for inversion, editor in pairs:
            numbers = range(start, min(start + BATCH, len(all_cases)))
            if all((inversion, editor, n) in have for n in numbers):
                continue
            some = [all_cases[n] for n in numbers]
            pictures, masks, seconds = run_pair(model, some, inversion, editor)
            head = {"inversion": inversion, "editor": editor, "seconds": seconds}
            places = [None if m is None else place(c, m) for c, m in zip(some, masks, strict=True)]
            found = zip(numbers, places, scores(some, pictures), strict=True)
            write(out, [{**head, "scene": n, "iou": place, **score} for n, place, score in found])
            print(
                f"{inversion} + {editor}: scenes {start}-{numbers[-1]}, {seconds:.2f} s", flush=True
            )


def table(out: Path) -> str:
    """results.jsonl as a markdown table, one row a pair."""
    lines = read(out)
    rows = [
        "| inversion | editor | outside, dB | to the true edit, dB | edit as asked | other object "
        "kept | scenes | s an edit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for inversion in ("autoencoder", *INVERSIONS):
        for editor in EDITORS:
            some = where(lines, inversion=inversion, editor=editor)
            if not some:
                continue
            mean = {k: np.mean([d[k] for d in some]) for k in ("outside", "truth", "seconds")}
            asked, other = (f"{np.mean([d[k] for d in some]):.0%}" for k in ("asked", "other"))
            rows.append(
                f"| {inversion} | {editor} | {mean['outside']:.1f} | {mean['truth']:.1f} | "
                f"{asked} | {other} | {len(some)} | {mean['seconds']:.2f} |"
            )
    return "\n".join(rows) + "\n"


def sheet(model, all_cases: list[Case], out: Path) -> None:
    """One scene of each kind under the main pairs, beside the true edit."""
    from noisespace.pictures.sheet import Cell
    from noisespace.pictures.sheet import sheet as draw

    some = all_cases[: len(KINDS)]
    shown = [("ddim", "none"), ("ddim", "prompt-to-prompt"), ("edit-friendly", "none")]
    shown += [("edit-friendly", e) for e in EDITORS if e != "none"]
    columns = [run_pair(model, some, *pair)[0] for pair in shown]
    rows = []
    for i, case in enumerate(some):
        cells = [Cell(case.scene.render(), "input", case.scene.caption)]
        cells.append(Cell(case.truth.render(), "true edit", case.truth.caption))
        for pair, pictures in zip(shown, columns, strict=True):
            note = f"{psnr(pictures[i], case.truth.render()):.1f} dB to the true edit"
            cells.append(Cell(pictures[i], " + ".join(pair), note))
        rows.append(cells)
    draw(rows, "Five edits of held-out scenes").save(out / "sheet.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/editors"))
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--model", default="scenes")
    parser.add_argument("--inversions", nargs="*", choices=INVERSIONS, help="only these")
    parser.add_argument("--editors", nargs="*", choices=EDITORS, help="only these")
    parser.add_argument("--resume", action="store_true", help="go on with what OUT has")
    options = started(parser)
    model, all_cases = ns.load(options.model), cases(options.scenes)
    pairs = PAIRS
    if options.inversions or options.editors:
        chosen = options.inversions or INVERSIONS, options.editors or EDITORS
        pairs = [(i, e) for i in chosen[0] for e in chosen[1]]
    measure(model, all_cases, options.out, pairs)
    (options.out / "table.md").write_text(table(options.out))
    sheet(model, all_cases, options.out)
    print(table(options.out))


if __name__ == "__main__":
    main()
