"""What the source caption has to name (C21), on held-out two-object scenes.

    python benchmarks/captions.py --out runs/captions [--scenes 51] [--resume]

Edits of one object's colour, shape or texture under several source captions of the same picture.
The target is always the full caption of the true edit (but for one row, where both prompts name the
edited object alone). Measures where the words look, DiffEdit's mask, and the edits. Writes
OUT/results.jsonl (a run that was stopped goes on with --resume), OUT/pictures, OUT/table.md and
OUT/grid.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from editors import Case, iou, scores
from paired import cells, contrasts, headings, interval, keep, paired, untouched
from PIL import Image
from results import read, started, where, write
from source_captions import CONTROLS, NAMES, chosen, naming, source, target
from study_figures import draw_captions
from torch.nn.functional import interpolate

import noisespace as ns
from noisespace.editing import Brief
from noisespace.sheet import heat

BATCH, STEPS = 17, 50
INVERSIONS = {"edit-friendly": ns.EditFriendly(), "negative-prompt": ns.NegativePrompt()}
EDITORS = {"prompt-to-prompt": ns.PromptToPrompt(), "none": None}
ROWS = [("edit-friendly", "prompt-to-prompt"), ("negative-prompt", "prompt-to-prompt")]
ROWS += [("edit-friendly", "none")]


def inside(values: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """The share of a map's sum that lies in a mask (64, 64), and the mask's share of the area."""
    side = len(values)
    cover = mask.reshape(side, 64 // side, side, 64 // side).mean((1, 3))
    return float((values * cover).sum() / values.sum()), float(cover.mean())


def overlap(values: np.ndarray, mask: np.ndarray) -> float:
    """IoU of where a map, enlarged, exceeds half its maximum, and a mask (64, 64)."""
    large = interpolate(torch.from_numpy(values)[None, None], (64, 64), mode="bilinear")[0, 0]
    high, true = (large > large.max() / 2).numpy(), mask > 0.5
    return float((high & true).sum() / max((high | true).sum(), 1))


def looks(model, out: Path, code: ns.Code, name: str, some: list[Case], start: int) -> list[dict]:
    """Where the words of the source caption look; nothing where it has no words."""
    if name == "empty":
        return [{} for _ in some]
    found, lines = ns.attention_maps(model, code), []
    for i, case in enumerate(some):
        maps = dict(zip(found.words[i], found.maps[i].numpy(), strict=True))
        mask, noun = case.scene.mask(0), naming(name, case)
        shares = [inside(m, mask)[0] for m in maps.values()]
        line = {"best word": max(shares), "area": inside(found.maps[i][0].numpy(), mask)[1]}
        if noun:
            line |= {"noun": inside(maps[noun], mask)[0], "noun iou": overlap(maps[noun], mask)}
            keep(out, f"noun {name}", start + i, [heat(case.scene.render(), maps[noun])])
        lines.append(line)
    return lines


@torch.no_grad()
def differences(model, out: Path, code: ns.Code, name: str, some: list[Case], start: int) -> list:
    """DiffEdit's map of source against target: its mask's IoU, and its share in the true place."""
    prompts = [source(name, c) for c in some], [target(name, c) for c in some], [""] * len(some)
    texts = tuple(model.embed(p) for p in prompts)
    brief = Brief.of(model, code, texts, (1.0, 1.0))  # type: ignore[arg-type]
    soft = ns.DiffEdit().difference(brief)[:, 0].numpy()
    hard = ns.DiffEdit().mask(brief)[:, 0, 0].numpy()
    lines = []
    for i, case in enumerate(some):
        keep(out, f"diffedit {name}", start + i, [heat(case.scene.render(), soft[i])])
        share, area = inside(soft[i], case.touched)
        picture = Image.fromarray((hard[i] * 255).astype(np.uint8))
        lines.append({"mask iou": iou(case, picture), "mask share": share, "touched": area})
    return lines


def one(model, out: Path, row: tuple[str, str], name: str, some: list[Case], start: int) -> None:
    """One source caption under one inversion and editor, on one batch."""
    inversion, editor = row
    sources, targets = [source(name, c) for c in some], [target(name, c) for c in some]
    seeds = list(range(start, start + len(some)))
    code = ns.invert(
        model, [c.scene for c in some], sources, INVERSIONS[inversion], steps=STEPS, seed=seeds
    )
    pictures = ns.edit(model, code, targets, editor=EDITORS[editor]).images
    keep(out, f"{inversion} {editor} {name}", start, pictures)
    lines = [{"inversion": inversion, "editor": editor, **d} for d in scores(some, pictures)]
    if row == ROWS[0]:
        seen = looks(model, out, code, name, some, start)
        apart = differences(model, out, code, name, some, start)
        lines = [a | b | c for a, b, c in zip(lines, seen, apart, strict=True)]
    write(out, [{"scene": start + i, "caption": name, **d} for i, d in enumerate(lines)])


def measure(model, out: Path, count: int) -> None:
    """Runs what results.jsonl does not have yet."""
    every = chosen(count)
    for start in range(0, count, BATCH):
        some = every[start : start + BATCH]
        if where(read(out), inversion="input", scene=start):
            continue
        for name, pictures in untouched(model, some).items():
            lines = [{"inversion": name, **d} for d in scores(some, pictures)]
            write(out, [{"scene": start + i, **d} for i, d in enumerate(lines)])
    for row in ROWS:
        for name in NAMES if row == ROWS[0] else [n for n in NAMES if n not in CONTROLS]:
            head = {"inversion": row[0], "editor": row[1], "caption": name}
            for start in range(0, count, BATCH):
                if not where(read(out), **head, scene=start):
                    one(model, out, row, name, every[start : start + BATCH], start)
                    print(f"{' + '.join(row)}, {name}: from scene {start}", flush=True)


def table(out: Path) -> str:
    """results.jsonl as markdown tables: edits, and maps."""
    lines = read(out)
    return "\n".join((edit_table(lines), alone_against(lines), map_table(lines)))


def edit_table(lines: list[dict]) -> str:
    rows = [f"| inversion | editor | source caption | {headings('full')} |", "|---" * 12 + "|"]
    for name in ("input", "autoencoder"):
        rows.append(f"| {name} | - | - | {cells(where(lines, inversion=name))} |")
    for inversion, editor in ROWS:
        of = where(lines, inversion=inversion, editor=editor)
        for name in NAMES:
            if some := where(of, caption=name):
                against = None if name == "full" else where(of, caption="full")
                rows.append(f"| {inversion} | {editor} | {name} | {cells(some, against)} |")
    return "\n".join(rows) + "\n"


def alone_against(lines: list[dict]) -> str:
    """What naming the edited object alone brings against captions that do not name it."""
    pairs = []
    for inversion, editor in ROWS:
        of = where(lines, inversion=inversion, editor=editor)
        own = where(of, caption="edited object only")
        for name in ("other object only", "generic", "unrelated", "empty"):
            label = f"{inversion}, {editor}: edited object only - {name}"
            pairs.append((label, own, where(of, caption=name)))
    return contrasts(pairs)


def map_table(lines: list[dict]) -> str:
    """Means over the scenes that have the figure, and paired differences to the full caption's."""
    heads = {
        "noun": "the noun's attention inside the object",
        "noun iou": "its IoU",
        "best word": "the best word's attention inside",
        "mask share": "DiffEdit's difference inside the edit",
        "mask iou": "its mask's IoU",
    }
    rows = ["| source caption | " + " | ".join(f"{h} | - full" for h in heads.values()) + " |"]
    rows.append("|---" * (1 + 2 * len(heads)) + "|")
    of = where(lines, inversion=ROWS[0][0], editor=ROWS[0][1])
    for name in NAMES:
        some, out = where(of, caption=name), []
        for key in heads:
            having = [d for d in some if key in d]
            full = [d for d in where(of, caption="full") if key in d]
            out.append(f"{np.mean([d[key] for d in having]):.2f}" if having else "-")
            apart, half = paired(having, full, key) if having and name != "full" else (0.0, 0.0)
            out.append(f"{apart:+.2f} +- {half:.2f}" if half else "")
        rows.append(f"| {name} | " + " | ".join(out) + " |")
    for key, what in {"area": "the object", "touched": "the edit"}.items():
        mean, half = interval(d[key] for d in where(of, caption="full") if key in d)
        rows.append(f"\nA map that looks everywhere alike has {mean:.2f} +- {half:.2f} in {what}.")
    return "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/captions"))
    parser.add_argument("--scenes", type=int, default=51)
    parser.add_argument("--resume", action="store_true", help="go on with what OUT has")
    options = started(parser)
    measure(ns.load("scenes"), options.out, options.scenes)
    (options.out / "table.md").write_text(table(options.out))
    shown = [name for name in NAMES if name not in CONTROLS[:2]]  # those look like "full"
    draw_captions(options.out, chosen(options.scenes), shown, " ".join(ROWS[0]))
    print(table(options.out))


if __name__ == "__main__":
    main()
