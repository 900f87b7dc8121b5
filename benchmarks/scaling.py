"""How cost grows with steps, pixels, images and prompts; the model that explains it; the figure.

    python benchmarks/scaling.py [--quick] [--resume] [--out FOLDER] [--page docs/performance.md]

Every point is an inversion and an edit by the random network of 10 M parameters (`sd-10m`; as in
Stable Diffusion, latents have an eighth of a picture's side). The model: evaluations x (a + b
positions + c positions^2) + d, a the launch of a batch, b a latent position, c attention, fitted to
all points at once by least squares of the relative error; a seventh of the points is held out and
predicted (starred in the table). Writes scaling.json and scaling.png into OUT (runs/scaling), the
points as they come; ``--resume`` keeps those that are there. 12 to 25 minutes on two free cores.
Above 200 lines, for the model of cost stands beside what is fitted to it.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from machine import check_same, clock, environment, stoppable, written
from networks import model_of
from page import check_place, put, scaling_table
from races import SOURCE, TARGETS

import noisespace as ns
from noisespace.core.batching import batch_rows
from noisespace.system.files import write_json

SKIP = 0.36
HELD_OUT = 7  # every seventh point
FACTOR = 8  # of a picture's side and its latents'
LONG = 8.0  # seconds: a point is not run again after so many


@dataclass(frozen=True)
class Point:
    """A job: what varies, and the seconds that it took."""

    steps: int = 50
    height: int = 128
    width: int = 128
    images: int = 1
    prompts: int = 1
    seconds: float = 0.0

    @property
    def positions(self) -> int:
        return self.height * self.width // FACTOR**2

    def batches(self) -> list[tuple[int, int]]:
        """(how many batches, rows each): the inversion's, then one or more a step of the edit.

        The inversion evaluates each image's first state twice more, for its lattice.
        """
        run = self.steps - round(SKIP * self.steps)
        like = torch.empty(1, 4, self.height // FACTOR, self.width // FACTOR)
        most, most_states = batch_rows(like, 1), batch_rows(like, 2)
        out = split(run * self.images, most_states, each=2)
        rows = 2 * self.images * self.prompts
        return [*out, (1, 4 * self.images), *((n * run, r) for n, r in split(rows, most))]

    def terms(self) -> list[float]:
        """What the coefficients multiply: batches, positions, positions squared, jobs, pictures."""
        p, parts = self.positions, self.batches()
        return [
            sum(n for n, _ in parts),
            sum(n * r * p for n, r in parts),
            sum(n * r * p**2 for n, r in parts),
            1.0,
            self.images * (1 + self.prompts) * p,  # encoding and decoding
        ]


KEPT = tuple(f.name for f in fields(Point))


def split(rows: int, most: int, each: int = 1) -> list[tuple[int, int]]:
    whole, rest = divmod(rows, most)
    return [(whole, most * each)] * (whole > 0) + [(1, rest * each)] * (rest > 0)


def points(quick: bool) -> list[Point]:
    """What is measured: one thing varies at a time, and some that vary together."""
    out = [Point(steps=n) for n in ((10, 20, 50, 100) if quick else (10, 20, 50, 100, 250, 1000))]
    sides = [(128, 256), (256, 128), (256, 256)]
    sides += [] if quick else [(256, 512), (512, 512), (512, 768), (768, 768), (1024, 1024)]
    out += [Point(10, h, w) for h, w in sides]
    out += [Point(20, images=n) for n in ((2, 4, 8) if quick else (2, 4, 8, 16, 32, 64))]
    out += [Point(20, prompts=n) for n in ((2, 4, 8) if quick else (2, 4, 8, 16))]
    return [*out, Point(50, 128, 256, 2, 2), Point(20, 256, 128, 4, 3)]


def measure(model, point: Point, runs: int) -> float:
    """Seconds of a job: the median of some runs (one where it is long) after a short one."""
    draw = np.random.default_rng(0)
    shape = (point.images, point.height, point.width, 3)
    pictures = list(draw.integers(0, 256, shape, dtype=np.uint8))
    targets = [(TARGETS * 2)[: point.prompts]] * point.images

    def job(steps: int = point.steps) -> None:
        options = {"steps": steps, "guidance": 3.5, "size": (point.height, point.width)}
        method = ns.EditFriendly(skip=SKIP)
        code = ns.invert(model, pictures, [SOURCE] * point.images, method, **options)
        ns.edit(model, code, targets, guidance=15.0)

    job(2)
    times: list[float] = []
    while len(times) < runs and sum(times) < LONG:
        times.append(clock(job)[0])
    return median(times)


def fit(some: list[Point]) -> np.ndarray:
    """Non-negative coefficients by least squares of the relative error."""
    a = np.array([[t / p.seconds for t in p.terms()] for p in some])
    kept = list(range(a.shape[1]))
    while True:  # a negative cost means nothing: without the most negative, again
        found, *_ = np.linalg.lstsq(a[:, kept], np.ones(len(some)), rcond=None)
        if (found >= 0).all() or len(kept) == 1:
            break
        kept.pop(int(np.argmin(found)))
    out = np.zeros(a.shape[1])
    out[kept] = found
    return out


def predicted(point: Point, cost: np.ndarray) -> float:
    return float(np.dot(point.terms(), cost))


def figure(some: list[Point], cost: np.ndarray, path: Path) -> None:
    """Measured points and the model's line against each of the four."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    base = Point(20)
    alone = [p for p in some if p.images == p.prompts == 1]
    small = [p for p in some if p.positions == base.positions and p.steps == 20]
    axes = {
        "steps": ([p for p in alone if p.positions == base.positions], "steps"),
        "pixels": ([p for p in alone if p.steps == 10], "positions"),
        "images": ([p for p in small if p.prompts == 1], "images"),
        "prompts": ([p for p in small if p.images == 1], "prompts"),
    }
    fig, panels = plt.subplots(1, 4, figsize=(14, 3.4), layout="constrained")
    for panel, (name, (chosen, field)) in zip(panels, axes.items(), strict=True):
        chosen = sorted(chosen, key=lambda p: getattr(p, field))
        x = [getattr(p, field) * (FACTOR**2 if name == "pixels" else 1) for p in chosen]
        panel.loglog(x, [p.seconds for p in chosen], "o", label="measured")
        panel.loglog(x, [predicted(p, cost) for p in chosen], "-", label="model")
        panel.set_xlabel(name)
        panel.grid(True, which="both", alpha=0.3)
    panels[0].set_ylabel("s, inversion + edit")
    panels[0].legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=110)


def report(some: list[Point]) -> dict:
    """The fit, its errors on the points that made it and on those that were held out."""
    used = [p for i, p in enumerate(some) if i % HELD_OUT]
    held = [p for i, p in enumerate(some) if not i % HELD_OUT]
    cost = fit(used)

    def errors(of: list[Point]) -> list[float]:
        return [round(predicted(p, cost) / p.seconds - 1, 3) for p in of]

    names = ("batch_s", "position_s", "position2_s", "job_s", "codec_position_s")
    rows = [
        {**asdict(p), "predicted": round(predicted(p, cost), 4), "held_out": not i % HELD_OUT}
        for i, p in enumerate(some)
    ]
    return {
        "cost": dict(zip(names, map(float, cost), strict=True)),
        "fitted_error": {"median": float(np.median(np.abs(errors(used)))), "all": errors(used)},
        "held_out_error": {"median": float(np.median(np.abs(errors(held)))), "all": errors(held)},
        "points": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--resume", action="store_true", help="keep the points that OUT has")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/scaling"))
    parser.add_argument("--page", type=Path, help="also the table of docs/performance.md")
    options = parser.parse_args()
    file = options.out / "scaling.json"
    if file.exists() and not options.resume:
        parser.error(f"{file} is there already: go on with --resume, or name another --out")
    check_place(options.page, "scaling")
    about, some = environment(torch.device("cpu")) | {"quick": options.quick}, []
    if file.exists():
        done = written(file)
        check_same(done["environment"], about, file)
        about, some = (
            done["environment"],
            [Point(**{k: p[k] for k in KEPT}) for p in done["points"]],
        )
    model, left = model_of("sd-10m"), remaining(points(options.quick), some)
    for index, point in enumerate(left):
        some.append(replace(point, seconds=measure(model, point, options.runs)))
        print(f"[{index + 1} of {len(left)}] {some[-1]}", flush=True)
        kept = [asdict(p) for p in some]
        write_json(file, {"environment": about, "points": kept}, force=True)
    about["load_end"] = round(os.getloadavg()[0], 2)
    done = {"environment": about, **report(some)}
    write_json(file, done, force=True)
    cost = np.array(list(done["cost"].values()))
    figure(some, cost, options.out / "scaling.png")
    if options.page:
        put(options.page, "scaling", scaling_table(done))
    print(json.dumps({k: done[k] for k in ("cost", "fitted_error", "held_out_error")}, indent=1))


def remaining(wanted: list[Point], some: list[Point]) -> list[Point]:
    """The points that are not measured yet."""
    known = {replace(p, seconds=0.0) for p in some}
    return [p for p in wanted if p not in known]


if __name__ == "__main__":
    stoppable(main)
