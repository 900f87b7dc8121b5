"""The premises of negative-prompt inversion (C20), on held-out two-object scenes.

    python benchmarks/premises.py --out runs/premises [--guidance 7.5 1.5] [--scenes 50] [--resume]

(a) How far the noise of adjacent steps of the DDIM pivot lies apart, beside yardsticks; (b) whether
the noise under null-text's tuned null is nearer to that under the source text or under ""; (c)
edits by both methods at the same guidance. Writes OUT/results.jsonl (a run that was stopped goes on
with --resume), OUT/pictures, OUT/table.md, OUT/steps.png and OUT/edits.png.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import numpy as np
import torch
from editors import Case, cases, scores
from paired import cells, contrasts, headings, interval, keep, untouched
from results import read, started, where, write
from study_figures import draw_premises
from torch import Tensor

import noisespace as ns
from noisespace.denoiser import Text

BATCH = 25
EDITORS = {"none": None, "prompt-to-prompt": ns.PromptToPrompt()}
METHODS = ("null-text", "null-text, adam", "negative-prompt")


def method(name: str, w: float):
    """An inversion by its name."""
    if name == "negative-prompt":
        return ns.NegativePrompt()
    return ns.NullText(guidance=w, solver="adam" if "adam" in name else "gauss-newton")


def noise(model, code: ns.Code, k: int, text: Text) -> Tensor:
    """eps at the pivot's level k under a text, (b, c, h, w)."""
    return model.denoise(code.path[k], code.grid.level(k), text).eps


def apart(a: Tensor, b: Tensor, unit: Tensor) -> list[float]:
    """|a - b| / |unit| of each image."""
    return ((a - b).flatten(1).norm(dim=1) / unit.flatten(1).norm(dim=1)).tolist()


def texts(model, some: list[Case]) -> tuple[Text, Text]:
    """The source captions and the empty ones, embedded."""
    return model.embed([c.scene.caption for c in some]), model.embed([""] * len(some))


@torch.no_grad()
def pivot(model, code: ns.Code, some: list[Case]) -> list[dict[str, list[float]]]:
    """By image: distances along the pivot, a list by step each, in units of the step's own |eps|.

    "adjacent": to the next step; "level": to another step of the image's pivot, drawn at random;
    "stranger": to the same step of another scene; "guidance": from the source text to "".
    """
    text, null = texts(model, some)
    steps = len(code.grid)
    own = torch.stack([noise(model, code, k, text) for k in range(steps + 1)])
    rng, images, out = random.Random("levels"), torch.arange(len(some)), {}
    for k in range(steps):
        far = rng.choices([j for j in range(steps) if abs(j - k) > 1], k=len(some))
        ends = {"adjacent": own[k + 1], "level": own[far, images], "stranger": own[k].roll(1, 0)}
        ends["guidance"] = noise(model, code, k, null)
        for name, end in ends.items():
            out.setdefault(name, []).append(apart(own[k], end, own[k]))
    return by_image(out)


@torch.no_grad()
def tuned(model, code: ns.Code, some: list[Case]) -> list[dict[str, list[float]]]:
    """By image and step, at the pivot: from eps(null*) to eps(text) and to eps(""), over |eps|."""
    text, null = texts(model, some)
    out: dict[str, list[list[float]]] = {"text": [], "empty": []}
    for k in range(len(code.grid)):
        own, empty = noise(model, code, k, text), noise(model, code, k, null)
        found = noise(model, code, k, null.embedded(code.null[k]))
        out["text"].append(apart(found, own, own))
        out["empty"].append(apart(found, empty, own))
    return by_image(out)


def by_image(lists: dict[str, list[list[float]]]) -> list[dict[str, list[float]]]:
    """{name: steps x images} as one {name: steps} an image."""
    turned = {name: np.array(rows).T.round(5).tolist() for name, rows in lists.items()}
    return [dict(zip(turned, values, strict=True)) for values in zip(*turned.values(), strict=True)]


def plain(model, out: Path, some: list[Case], start: int) -> None:
    """What needs no guidance: the pivot's distances and the do-nothing rows."""
    if where(read(out), what="pivot", scene=start + len(some) - 1):
        return
    code = ns.invert(model, [c.scene for c in some], [c.scene.caption for c in some], ns.DDIM())
    found = [{"what": "pivot", **d} for d in pivot(model, code, some)]
    lines = [{"scene": start + i, **d} for i, d in enumerate(found)]
    for name, pictures in untouched(model, some).items():
        what = {"what": "edit", "method": name}
        lines += [{"scene": start + i, **what, **d} for i, d in enumerate(scores(some, pictures))]
    write(out, lines)


def one(model, out: Path, name: str, w: float, some: list[Case], start: int) -> None:
    """One method at one guidance on one batch: its null, where it has one, and its edits."""
    begun = time.perf_counter()
    sources, targets = [c.scene.caption for c in some], [c.truth.caption for c in some]
    code = ns.invert(model, [c.scene for c in some], sources, method(name, w))
    seconds = (time.perf_counter() - begun) / len(some)
    head, lines = {"method": name, "w": w}, []
    if code.null is not None:
        found = tuned(model, code, some)
        lines = [{"what": "null", "scene": start + i, **head, **d} for i, d in enumerate(found)]
    for editor, control in EDITORS.items():
        pictures = ns.edit(model, code, targets, editor=control, guidance=w).images
        keep(out, f"{name} {w:g} {editor}", start, pictures)
        what = {"what": "edit", **head, "editor": editor, "seconds": seconds}
        lines += [{"scene": start + i, **what, **d} for i, d in enumerate(scores(some, pictures))]
    write(out, lines)


def measure(model, out: Path, count: int, names: list[str], weights: list[float]) -> None:
    """Runs what results.jsonl does not have yet."""
    every = cases(count)
    for start in range(0, count, BATCH):
        some = every[start : start + BATCH]
        plain(model, out, some, start)
        for w in weights:
            for name in names:
                last = {"method": name, "w": w, "scene": start + len(some) - 1}
                if where(read(out), what="edit", **last):
                    continue
                one(model, out, name, w, some, start)
                print(f"w {w:g} {name}: {start + len(some)} of {count}", flush=True)


def table(out: Path) -> str:
    """results.jsonl as markdown tables: distances, and edits."""
    lines = read(out)
    return "\n".join((distances(lines), edit_table(lines), against_adam(lines)))


def distances(lines: list[dict]) -> str:
    """Means over steps, with intervals over scenes; the last five steps apart."""
    parts = {"all steps": slice(None), "the first 45": slice(45), "the last 5": slice(-5, None)}
    rows = [f"| distance, in units of abs(eps) | {' | '.join(parts)} | scenes |"]
    rows.append("|---" * (len(parts) + 2) + "|")

    def row(name: str, values: list, form: str = ".3f") -> None:
        found = [interval(np.mean(v[part]) for v in values) for part in parts.values()]
        shown = [f"{mean:{form}} +- {half:{form}}" for mean, half in found]
        rows.append(f"| {name} | {' | '.join(shown)} | {len(values)} |")

    some = where(lines, what="pivot")
    for key, name in {
        "adjacent": "to the next step",
        "level": "to another step, at random",
        "stranger": "to the same step of another scene",
        "guidance": 'source text to ""',
    }.items():
        row(name, [d[key] for d in some])
    for w, name in dict.fromkeys((d["w"], d["method"]) for d in where(lines, what="null")):
        some = where(lines, what="null", w=w, method=name)
        row(f"{name}, w {w:g}: null\\* to source text", [d["text"] for d in some])
        row(f'{name}, w {w:g}: null\\* to ""', [d["empty"] for d in some])
        nearer = [np.array(d["text"]) < np.array(d["empty"]) for d in some]
        row(f"{name}, w {w:g}: steps with null\\* nearer to the source text", nearer, ".0%")
    return "\n".join(rows) + "\n"


def edit_table(lines: list[dict]) -> str:
    """One row a method, guidance and editor; differences are to null-text in the same row group."""
    rows = [f"| w | editor | method | {headings('null-text')} | s an inversion |"]
    rows.append("|---" * 13 + "|")
    every = where(lines, what="edit")
    for name in ("input", "autoencoder"):
        rows.append(f"| - | - | {name} | {cells(where(every, method=name))} | |")
    for w in dict.fromkeys(d["w"] for d in every if "w" in d):
        for editor in EDITORS:
            null = where(every, w=w, editor=editor, method="null-text")
            for name in METHODS:
                some = where(every, w=w, editor=editor, method=name)
                if some:
                    against = None if name == "null-text" or not null else null
                    seconds = np.mean([d["seconds"] for d in some])
                    rows.append(
                        f"| {w:g} | {editor} | {name} | {cells(some, against)} | {seconds:.2f} |"
                    )
    return "\n".join(rows) + "\n"


def against_adam(lines: list[dict]) -> str:
    """Both quick solutions against the published loop, on the scenes that it was run on."""
    every, pairs = where(lines, what="edit"), []
    for w in dict.fromkeys(d["w"] for d in every if "w" in d):
        for editor in EDITORS:
            of = where(every, w=w, editor=editor)
            for name in ("null-text", "negative-prompt"):
                label = f"w {w:g}, {editor}: {name} - null-text, adam"
                adam = where(of, method="null-text, adam")
                pairs.append((label, where(of, method=name), adam))
    return contrasts(pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/premises"))
    parser.add_argument("--scenes", type=int, default=50)
    parser.add_argument("--guidance", type=float, nargs="*", default=[7.5, 1.5])
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    parser.add_argument("--resume", action="store_true", help="go on with what OUT has")
    options = started(parser)
    measure(ns.load("scenes"), options.out, options.scenes, options.methods, options.guidance)
    (options.out / "table.md").write_text(table(options.out))
    draw_premises(options.out, cases(options.scenes))
    print(table(options.out))


if __name__ == "__main__":
    main()
