"""DDIM against DDPM samples by the number of steps, read by the judge (claim C3)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from noisespace.api import sample
from noisespace.study.budget import Task
from noisespace.study.claims import Check, claim
from noisespace.study.kept import Kept
from noisespace.study.measure import Row, mean, paired, where
from noisespace.study.subjects import as_asked, judged, scene_edits

NAMES = {0.0: "DDIM (eta 0)", 1.0: "DDPM (eta 1)"}
FEW = range(10, 101)  # steps with which DDIM should draw better
MANY = 1000  # steps with which both should be close
CLOSE = 0.25  # of the difference at the fewest steps, that may be left at many


def sample_tasks(model: Any, count: int, steps: Sequence[int], seed: int, kept: Kept) -> list[Task]:
    """Samples of held-out captions at both etas and every number of steps, without guidance."""
    tasks = []
    for n in steps:
        for eta in NAMES:
            key = {"part": "sampling", "steps": n, "eta": eta, "guidance": 1.0}
            work = partial(sampled, model, n, eta, count, seed, kept)
            tasks.append(Task(key, n * count, work))
    return tasks


def sampled(model: Any, steps: int, eta: float, count: int, seed: int, kept: Kept) -> list[Row]:
    """What the judge reads in samples; "residual": rms difference to the nearest rendering."""
    edits = scene_edits(count, f"samples {seed}")
    prompts, seeds = [e.scene.caption for e in edits], [7000 + seed * 100 + i for i in range(count)]
    found = sample(model, prompts, steps=steps, guidance=1.0, eta=eta, seed=seeds).images
    rows = []
    for i, (asked, verdict) in enumerate(zip(edits, judged(found), strict=True)):
        kept.keep(f"sample {steps} {eta:g} {i}", np.asarray(found[i]))
        right = as_asked(type(asked)(asked.kind, asked.scene, asked.scene), verdict)
        rows.append({"image": i, "right": right, "residual": min(verdict.residual, 1.0)})
    return rows


def quality(rows: list[Row]) -> tuple[Row, Row]:
    """Means by eta and steps, and claim C3: with few steps DDIM draws better, with many alike."""
    some = where(rows, part="sampling")
    steps = sorted({r["steps"] for r in some})
    numbers: Row = {}
    for n in steps:
        own = {name: where(some, steps=n, eta=eta) for eta, name in NAMES.items()}
        found = {
            name: {key: mean(r, key) for key in ("right", "residual")} for name, r in own.items()
        }
        numbers[str(n)] = {**found, "DDPM - DDIM, residual": lead(some, n)}
    first = lead(some, steps[0])["mean"]
    options: Row = {"form": ".3f", "unit": "of 1"}
    checks = [Check(f"{n} steps", lead(some, n), above=0, **options) for n in steps if n in FEW]
    # without samples of that many steps the second half of the claim stays undecided
    bound = CLOSE * abs(first)
    name = f"{MANY} steps, bound: a quarter of the difference at {steps[0]} steps"
    checks.append(Check(name, lead(some, MANY), above=-bound, below=bound, **options))
    what = "rms difference to the nearest rendering, DDPM less DDIM, paired by caption and seed"
    return numbers, claim("C3", checks, len({r["image"] for r in some}), rule=what)


def lead(rows: list[Row], steps: int) -> Row:
    """How much further from a rendering DDPM's samples are than DDIM's."""
    ddpm, ddim = (where(rows, steps=steps, eta=eta) for eta in (1.0, 0.0))
    return paired(ddpm, ddim, "residual")
