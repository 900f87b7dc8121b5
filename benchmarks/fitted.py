"""Edits by fitted networks and by gradients, on held-out scenes whose true edits are known.

    python benchmarks/fitted.py --out runs/fitted [--scenes 15] [--only imagic ...] [--resume]

Imagic, UniTune and DiffusionCLIP fit the network to one scene at a time; score guidance moves an
edit-friendly edit up the alignment model's odds. Measured as in benchmarks/editors.py, beside the
input itself and the plain edit-friendly edit. Writes OUT/results.jsonl (a run that was stopped goes
on with --resume), OUT/table.md and OUT/sheet.png.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from editors import KINDS, Case, cases, psnr
from results import read, started, where, write

import noisespace as ns
from noisespace.pictures.sheet import Cell
from noisespace.pictures.sheet import sheet as draw
from noisespace.study.two_objects import scores

Way = Callable[[object, Case, int], np.ndarray]


def fitted(method) -> Way:
    """Invert under the target's prompt (Imagic) or the source's, then edit."""

    def run(model, case: Case, seed: int) -> np.ndarray:
        prompt = case.truth.caption if isinstance(method, ns.Imagic) else case.scene.caption
        code = ns.invert(model, case.scene, prompt, method, seed=seed)
        return np.asarray(ns.edit(model, code, case.truth.caption).images[0])

    return run


def directed(**settings) -> Way:
    """DiffusionCLIP, fitted to the scene's own target."""

    def run(model, case: Case, seed: int) -> np.ndarray:
        return fitted(ns.DiffusionCLIP(case.truth.caption, **settings))(model, case, seed)

    return run


def guided(editor) -> Way:
    """An edit-friendly edit, under an editor."""

    def run(model, case: Case, seed: int) -> np.ndarray:
        code = ns.invert(model, case.scene, case.scene.caption, seed=seed)
        return np.asarray(ns.edit(model, code, case.truth.caption, editor=editor).images[0])

    return run


WAYS: dict[str, Way] = {
    "nothing": lambda model, case, seed: case.scene.render(),
    "edit-friendly": guided(None),
    "score guidance 2": guided(ns.ScoreGuidance(scale=2.0)),
    "score guidance 8": guided(ns.ScoreGuidance(scale=8.0)),
    "score guidance 8, content 20": guided(ns.ScoreGuidance(scale=8.0, content=20.0)),
    "diffusion-clip": directed(),
    "unitune": fitted(ns.UniTune()),
    "unitune, strength .6": fitted(ns.UniTune(strength=0.6)),
    "imagic": fitted(ns.Imagic()),
}


def measure(model, some: list[Case], out: Path, names: list[str]) -> None:
    """Runs what OUT/results.jsonl does not have yet; pictures go to OUT/pictures."""
    have = {(d["method"], d["scene"]) for d in read(out)}
    (out / "pictures").mkdir(exist_ok=True)
    for name in names:
        for n, case in enumerate(some):
            if (name, n) in have:
                continue
            start = time.perf_counter()
            picture = WAYS[name](model, case, n)
            seconds = time.perf_counter() - start
            np.save(out / "pictures" / f"{name} {n}.npy", picture)
            (score,) = scores([case], [picture])
            write(out, [{"method": name, "scene": n, "seconds": seconds, **score}])
            print(f"{name}: {n + 1} of {len(some)}, {seconds:.1f} s", flush=True)


def table(out: Path) -> str:
    """results.jsonl as a markdown table, one row a method."""
    lines = read(out)
    rows = [
        "| method | outside, dB | to the true edit, dB | edit as asked | other object kept "
        "| scenes | s an edit |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in WAYS:
        some = where(lines, method=name)
        if some:
            mean = {k: np.mean([d[k] for d in some]) for k in ("outside", "truth", "seconds")}
            asked, other = (f"{np.mean([d[k] for d in some]):.0%}" for k in ("asked", "other"))
            rows.append(
                f"| {name} | {mean['outside']:.1f} | {mean['truth']:.1f} | {asked} | {other} | "
                f"{len(some)} | {mean['seconds']:.1f} |"
            )
    return "\n".join(rows) + "\n"


def sheet(some: list[Case], out: Path, names: list[str]) -> None:
    """One scene of each kind under every method, beside the true edit."""
    rows = []
    for n, case in enumerate(some[: len(KINDS)]):
        cells = [Cell(case.scene.render(), "input", case.scene.caption)]
        cells.append(Cell(case.truth.render(), "true edit", case.truth.caption))
        for name in names:
            file = out / "pictures" / f"{name} {n}.npy"
            if name != "nothing" and file.exists():
                picture = np.load(file)
                note = f"{psnr(picture, case.truth.render()):.1f} dB to the true edit"
                cells.append(Cell(picture, name, note))
        rows.append(cells)
    draw(rows, "Fitted and guided edits of held-out scenes").save(out / "sheet.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/fitted"))
    parser.add_argument("--scenes", type=int, default=15)
    parser.add_argument("--only", nargs="*", choices=WAYS, help="only these")
    parser.add_argument("--resume", action="store_true", help="go on with what OUT has")
    options = started(parser)
    some, names = cases(options.scenes), options.only or list(WAYS)
    measure(ns.load("scenes"), some, options.out, names)
    (options.out / "table.md").write_text(table(options.out))
    sheet(some, options.out, list(WAYS))
    print(table(options.out))


if __name__ == "__main__":
    main()
