"""Inversion x editor on held-out real photographs: colours of garments, kinds of produce.

    python benchmarks/photos.py --data FOLDER --classifier runs/photos/classifier
        --out runs/photo-edits [--colours 60] [--kinds 60] [--resume]

For each pair of a method and an editor: LPIPS (AlexNet) to the input, the share that a classifier
of real photographs reads as asked, PSNR to the input outside DiffEdit's mask of the edit (one mask
an edit, the same for all methods), and seconds an edit in batches of ten. "nothing" is the input
itself, "autoencoder" the input encoded and decoded. Writes OUT/results.jsonl (a run that was
stopped goes on with --resume), OUT/table.md, OUT/pictures and OUT/gallery.png.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from photo_pairs import Pair, pairs
from PIL import Image
from results import read, started, where, write

import noisespace as ns
from noisespace import images
from noisespace.bench.lpips import LPIPS
from noisespace.train.classifier import Classifier, load_classifier
from noisespace.train.folder import Folder, read_folder

BATCH = 10
P2P = ns.PromptToPrompt()
INVERSIONS = {
    "ddim": ns.DDIM(),
    "negative-prompt": ns.NegativePrompt(),
    "null-text": ns.NullText(),
    "direct": ns.Direct(),
    "cycle-diffusion": ns.CycleDiffusion(),
    "sdedit .5": ns.SDEdit(strength=0.5),
    "sdedit .7": ns.SDEdit(strength=0.7),
    "edit-friendly": ns.EditFriendly(),
    "edit-friendly skip .12": ns.EditFriendly(skip=0.12),
}
EDITORS = {
    "none": None,
    "prompt-to-prompt": P2P,
    "p2p cross .6 self .2": ns.PromptToPrompt(cross=0.6, self_=0.2),
    "diffedit": ns.DiffEdit(),
}
PAIRS = [("nothing", "none"), ("autoencoder", "none")]
PAIRS += [(i, "none") for i in INVERSIONS]
PAIRS += [(i, "prompt-to-prompt") for i in INVERSIONS if not i.startswith("sdedit")]
PAIRS += [("edit-friendly skip .12", "p2p cross .6 self .2"), ("ddim", "diffedit")]
SHOWN = [
    ("sdedit .7", "none"),
    ("ddim", "none"),
    ("negative-prompt", "prompt-to-prompt"),
    ("null-text", "prompt-to-prompt"),
    ("edit-friendly", "none"),
    ("edit-friendly", "prompt-to-prompt"),
    ("edit-friendly skip .12", "p2p cross .6 self .2"),
]


def edited(
    model, some: list[Pair], inputs: list[np.ndarray], pair: tuple[str, str]
) -> tuple[list[np.ndarray], float]:
    """The pictures of one batch, and seconds a picture."""
    inversion, editor = pair
    start = time.perf_counter()
    if inversion == "nothing":
        return inputs, 0.0
    if inversion == "autoencoder":
        pixels = torch.cat([images.to_tensor(x) for x in inputs])
        seen = images.to_images(model.decode(model.encode(pixels)))
        return [np.asarray(x) for x in seen], (time.perf_counter() - start) / len(some)
    method, seeds = INVERSIONS[inversion], [p.number for p in some]
    if inversion == "null-text":  # fitted to the guidance that the model stores for such methods
        method = ns.NullText(guidance=model.defaults["methods"]["ddim"]["edit"])
    code = ns.invert(model, inputs, [p.source for p in some], method, seed=seeds)
    result = ns.edit(model, code, [p.target for p in some], editor=EDITORS[editor])
    return [np.asarray(x) for x in result.images], (time.perf_counter() - start) / len(some)


def masks(model, some: list[Pair], inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Where DiffEdit finds each edit, boolean and a little widened."""
    code = ns.invert(model, inputs, [p.source for p in some], ns.DDIM())
    found = ns.edit(model, code, [p.target for p in some], editor=ns.DiffEdit()).mask
    wide = []
    for mask in found if isinstance(found, list) else [found]:
        x = torch.from_numpy(np.asarray(mask.convert("L"), np.float32) / 255)[None, None]
        wide.append((torch.nn.functional.max_pool2d(x, 9, 1, 4)[0, 0] > 0.5).numpy())
    return wide


def psnr(a: np.ndarray, b: np.ndarray, inside: np.ndarray) -> float | None:
    """Over the pixels of ``inside``; None where there are too few to say."""
    if inside.mean() < 0.02:
        return None
    error = (a.astype(float) - b.astype(float))[inside]
    return float(min(60.0, -10 * np.log10(max((error**2).mean(), 1e-9) / 255**2)))


def measure(model, data: Folder, some: list[Pair], judge: Classifier, out: Path) -> None:
    """Runs what results.jsonl does not have yet."""
    lpips, have = LPIPS("alex"), {(d["inversion"], d["editor"], d["pair"]) for d in read(out)}
    (out / "pictures").mkdir(exist_ok=True)
    for start in range(0, len(some), BATCH):
        batch = some[start : start + BATCH]
        inputs, outside = [p.image(data) for p in batch], None
        for pair in PAIRS:
            if all((*pair, start + i) in have for i in range(len(batch))):
                continue
            if outside is None:
                outside = [~m for m in masks(model, batch, inputs)]
            pictures, seconds = edited(model, batch, inputs, pair)
            x, y = (torch.cat([images.to_tensor(v) for v in side]) for side in (inputs, pictures))
            with torch.no_grad():
                away = lpips(x.float(), y.float()).tolist()
            read_as = judge.name(y.float())
            rows = []
            for i, one in enumerate(batch):
                name = f"{start + i}-{'-'.join(pair)}.png".replace(" ", "_")
                Image.fromarray(pictures[i]).save(out / "pictures" / name)
                rows.append(
                    {
                        "inversion": pair[0],
                        "editor": pair[1],
                        "pair": start + i,
                        "rule": one.rule,
                        "target": one.target,
                        "lpips": away[i],
                        "success": read_as[i][one.column] == one.wanted,
                        "outside": psnr(pictures[i], inputs[i], outside[i]),
                        "seconds": seconds,
                    }
                )
            write(out, rows)
            print(f"{' + '.join(pair)}: pairs {start}-{start + len(batch) - 1}", flush=True)


def table(out: Path) -> str:
    """results.jsonl as a markdown table, one row a method and editor."""
    lines = read(out)
    rows = [
        "| inversion | editor | LPIPS to the input | colour as asked | kind as asked | "
        "outside the mask, dB | edits | s an edit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for inversion, editor in PAIRS:
        some = where(lines, inversion=inversion, editor=editor)
        if not some:
            continue
        shares = [
            f"{np.mean([d['success'] for d in part]):.0%}" if (part := where(some, rule=r)) else ""
            for r in ("colour", "kind")
        ]
        outside = [d["outside"] for d in some if d["outside"] is not None]
        rows.append(
            f"| {inversion} | {editor} | {np.mean([d['lpips'] for d in some]):.3f} | {shares[0]} | "
            f"{shares[1]} | {np.mean(outside):.1f} | {len(some)} | "
            f"{np.mean([d['seconds'] for d in some]):.2f} |"
        )
    return "\n".join(rows) + "\n"


def gallery(data: Folder, some: list[Pair], out: Path, count: int = 8) -> None:
    """The first pairs under the main methods, side by side."""
    from noisespace.sheet import Cell
    from noisespace.sheet import sheet as draw

    rows = []
    for i, one in enumerate(some[:count]):
        cells = [Cell(one.image(data), "input", one.source)]
        for pair in SHOWN:
            name = f"{i}-{'-'.join(pair)}.png".replace(" ", "_")
            cells.append(
                Cell(np.asarray(Image.open(out / "pictures" / name)), " + ".join(pair), one.target)
            )
        rows.append(cells)
    draw(rows, "Edits of held-out photographs").save(out / "gallery.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--classifier", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/photo-edits"))
    parser.add_argument("--colours", type=int, default=60)
    parser.add_argument("--kinds", type=int, default=60)
    parser.add_argument("--model", default="photos")
    parser.add_argument("--resume", action="store_true", help="go on with what OUT has")
    options = started(parser)
    model = ns.load(options.model)
    data = read_folder(options.data, model.resolution, options.out / "pixels.npy")
    some = pairs(data, options.colours, options.kinds)
    measure(model, data, some, load_classifier(options.classifier), options.out)
    (options.out / "table.md").write_text(table(options.out))
    gallery(data, some, options.out)
    print(table(options.out))


if __name__ == "__main__":
    main()
