"""Inversion x editor on held-out real photographs: colours of garments, kinds of produce.

    python benchmarks/photos.py --data FOLDER --classifier runs/photos/classifier
        --out runs/photo-edits [--colours 60] [--kinds 60]

LPIPS (AlexNet) to the input, the share that a classifier of real photographs reads as asked, PSNR
to the input outside DiffEdit's mask of the edit (one mask an edit, the same for all methods), and
seconds an edit in batches of ten. "nothing" is the input itself, "autoencoder" the input encoded
and decoded. Further settings run on the first 20 pairs. The same command goes on with a run that
was stopped. Writes OUT/bench and OUT/swept (rows and pictures), OUT/summary.*, OUT/table.md,
OUT/swept.md, OUT/paired.md and OUT/gallery.png. The masks belong to OUT's pairs: another number of
pairs or another model wants another OUT.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from pathlib import Path

import numpy as np
from photo_pairs import Pair, pairs
from PIL import Image

import noisespace as ns
from noisespace.bench.cases import Case
from noisespace.bench.judges import Judges
from noisespace.bench.methods import parse_lines
from noisespace.bench.pictures import slug
from noisespace.bench.rows import read_rows
from noisespace.bench.run import Plan, run_bench
from noisespace.bench.scenes import grown
from noisespace.bench.scoring import Scoring
from noisespace.bench.statistics import difference, mean
from noisespace.bench.summary import cell, costed, summarise, write_summary
from noisespace.pictures import images
from noisespace.pictures.sheet import Cell
from noisespace.pictures.sheet import sheet as draw
from noisespace.train.classifier import Classifier, load_classifier
from noisespace.train.folder import Folder, read_folder

BATCH = 10
METRICS = ("lpips_alex", "psnr", "psnr_outside", "alignment_accuracy")
FEWER = "edit-friendly:skip=.12 + prompt-to-prompt:cross=.6,self=.2"
# Under prompt-to-prompt, which holds an edit back, the others do best at less guidance: SWEPT.
LINES = ["nothing", "autoencoder", "sdedit:strength=.5", "sdedit:strength=.7"]
LINES += ["ddim", "ddim + prompt-to-prompt @ guidance=2", "ddim + diffedit"]
LINES += ["negative-prompt", "negative-prompt + prompt-to-prompt @ guidance=1.5"]
LINES += ["null-text", "null-text:guidance=2 + prompt-to-prompt", "direct", "cycle-diffusion"]
LINES += ["edit-friendly", "edit-friendly:skip=.12", "edit-friendly + prompt-to-prompt", FEWER]
# at other settings of their knobs and with the editor at its own, on the first pairs alone
SWEPT = ["sdedit:strength=.3", "ddim @ guidance=2", "ddim + prompt-to-prompt"]
SWEPT += ["negative-prompt @ guidance=1.5", "negative-prompt + prompt-to-prompt"]
SWEPT += ["null-text + prompt-to-prompt", "direct + prompt-to-prompt", "cycle-diffusion:skip=.2"]
SWEPT += ["cycle-diffusion + prompt-to-prompt", "edit-friendly:skip=.24"]
FIRST = 20
# paired by photograph: methods that come to about the same LPIPS
PAIRED = [
    (FEWER, "null-text:guidance=2 + prompt-to-prompt"),
    ("edit-friendly:skip=.12", "sdedit:strength=.5"),
    ("edit-friendly", "negative-prompt + prompt-to-prompt @ guidance=1.5"),
    ("edit-friendly", "ddim + prompt-to-prompt @ guidance=2"),
    ("edit-friendly", "cycle-diffusion"),
    ("edit-friendly", "ddim + diffedit"),
]
COLUMNS = ("lpips_alex", "as_classified", "psnr_outside")
SHOWN = ["sdedit:strength=.7", "ddim", "negative-prompt + prompt-to-prompt @ guidance=1.5"]
SHOWN += ["null-text:guidance=2 + prompt-to-prompt", "edit-friendly"]
SHOWN += ["edit-friendly + prompt-to-prompt", FEWER]


def methods(model, lines: list[str]) -> list[str]:
    """``lines``; null-text is fitted to the guidance that the model stores for such methods."""
    own = model.defaults.get("methods", {}).get("ddim", {}).get("edit", 7.5)
    return [re.sub("^null-text(?!:)", f"null-text:guidance={own:g}", line) for line in lines]


def masks(model, some: list[Pair], data: Folder, out: Path) -> list[np.ndarray]:
    """Where DiffEdit finds each edit, a little widened; kept in OUT/masks.npz."""
    path = out / "masks.npz"
    told = json.dumps([model.fingerprint, [(p.number, p.target) for p in some]])
    if path.exists():
        kept = np.load(path)
        if str(kept.get("of", told)) != told:
            raise SystemExit(f"{path}: has the masks of other pairs; name another --out")
        return list(kept["masks"])
    found = []
    for start in range(0, len(some), BATCH):
        part = some[start : start + BATCH]
        code = ns.invert(
            model, [p.image(data) for p in part], [p.source for p in part], ns.DDIM(), steps=20
        )
        result = ns.edit(model, code, [p.target for p in part], editor=ns.DiffEdit())
        for mask in result.mask if isinstance(result.mask, list) else [result.mask]:
            found.append(grown(np.asarray(mask.convert("L"), np.float32) / 255, 4))
        print(f"masks: {len(found)} of {len(some)}", flush=True)
    np.savez_compressed(path, masks=np.stack(found), of=told)
    return found


def cases(some: list[Pair], data: Folder, where: list[np.ndarray]) -> list[Case]:
    """The pairs as a benchmark's cases."""
    return [
        Case(
            id=f"{i:03d}",
            image=pair.image(data),
            source=pair.source,
            target=pair.target,
            mask=mask,
            kind=pair.rule,
            about={"column": pair.column, "wanted": pair.wanted},
        )
        for i, (pair, mask) in enumerate(zip(some, where, strict=True))
    ]


def scoring(judge: Classifier, model: str):
    """METRICS, and whether the classifier reads the edit as asked."""
    plain = Scoring(METRICS, Judges(alignment=model))

    def measure(case: Case, picture: np.ndarray, mask: np.ndarray | None) -> dict:
        read = judge.name(images.to_tensor(picture).float())[0]
        success = float(read[case.about["column"]] == case.about["wanted"])
        return {**plain(case, picture, mask), "as_classified": success}

    return measure


def table(rows: list[dict], lines: list[str]) -> str:
    """One row a method: means with 95 % intervals."""
    head = ["method", "LPIPS to the input", "colour as asked", "name as asked"]
    head += ["outside the mask, dB", "edits", "s an edit"]
    text = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for line in lines:
        some = [costed(row) for row in rows if row["method"] == line and row["status"] == "ok"]
        if not some:
            continue
        cells = [cell(mean([row["lpips_alex"] for row in some]))]
        for rule in ("colour", "kind"):
            shares = [row["as_classified"] for row in some if row["kind"] == rule]
            cells.append(f"{np.mean(shares):.0%}" if shares else "")
        outside = [min(r["psnr_outside"], 60.0) for r in some if r["psnr_outside"] is not None]
        outside = [value for value in outside if not math.isnan(value)]
        cells += [f"{np.mean(outside):.1f}", str(len(some))]
        # of batches, one of which may have had to share the machine
        cells.append(f"{np.median([row['seconds'] for row in some]):.2f}")
        text.append(f"| {line} | " + " | ".join(cells) + " |")
    return "\n".join(text) + "\n"


def paired(rows: list[dict]) -> str:
    """The differences of PAIRED, photograph by photograph."""
    by = {(row["id"], row["method"]): row for row in rows}
    ids = sorted({row["id"] for row in rows})
    text = ["| less | " + " | ".join(COLUMNS) + " |", "|---" * (1 + len(COLUMNS)) + "|"]
    for one, other in PAIRED:
        cells = []
        for column in COLUMNS:
            values = [[by[i, line][column] for i in ids] for line in (one, other)]
            a, b = (np.array(each, dtype=float) for each in values)  # None becomes NaN
            cells.append(cell(difference(a, b)))
        text.append(f"| {one}, less {other} | " + " | ".join(cells) + " |")
    return "\n".join(text) + "\n"


def gallery(some: list[Case], out: Path, count: int = 10) -> None:
    """The first cases under the main methods, side by side."""
    rows = []
    for case in some[:count]:
        cells = [Cell(case.pixels(), "input", case.source)]
        for line in SHOWN:
            picture = Image.open(out / "bench" / "pictures" / slug(line) / f"{slug(case.id)}.png")
            cells.append(Cell(np.asarray(picture.convert("RGB")), line, case.target))
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
    options = parser.parse_args()
    out, model = options.out, ns.load(options.model)
    out.mkdir(parents=True, exist_ok=True)
    data = read_folder(options.data, model.resolution, out / "pixels.npy")
    some = pairs(data, options.colours, options.kinds)
    found = cases(some, data, masks(model, some, data, out))
    measure = scoring(load_classifier(options.classifier), options.model)
    plan = Plan(metrics=(*METRICS, "as_classified"), batch=BATCH, keep=True)

    def rows_of(name: str, lines: list[str], found: list[Case]) -> list[dict]:
        def tell(done: int, total: int) -> None:
            print(f"{name}: {done} of {total}", flush=True)

        run_bench(model, found, parse_lines(lines), measure, out / name, plan, tell)
        return read_rows(out / name)

    lines, swept = methods(model, LINES), methods(model, SWEPT)
    rows = rows_of("bench", lines, found)
    first = {case.id for case in found[:FIRST]}
    few = [row for row in rows if row["id"] in first] + rows_of("swept", swept, found[:FIRST])
    write_summary(summarise(rows, "edit-friendly + prompt-to-prompt"), out)
    (out / "table.md").write_text(table(rows, lines))
    (out / "paired.md").write_text(paired(rows))
    (out / "swept.md").write_text(table(few, sorted(lines + swept)))
    gallery(found, out)
    print(table(rows, lines), table(few, sorted(lines + swept)), sep="\n")


if __name__ == "__main__":
    main()
