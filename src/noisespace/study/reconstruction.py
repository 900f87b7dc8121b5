"""How well each inversion gives the picture back (claims C1, C2, C3 and C8)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from noisespace.models.families.analytic import Mixture
from noisespace.study.budget import Budget, Task
from noisespace.study.claims import Check, claim
from noisespace.study.draw_reconstruction import draw_guidance, draw_samples, draw_steps
from noisespace.study.exactness import exact_tasks, exactness
from noisespace.study.finding import Finding
from noisespace.study.inverting import (
    COST,
    LEFT_OUT,
    TUNED,
    Batch,
    Setting,
    methods,
    reconstruction,
)
from noisespace.study.measure import Row, factor, mean, order, summary, values, where
from noisespace.study.sampling import quality, sample_tasks
from noisespace.study.subjects import given, need_text, seeds_of

FIRST, SMALL = 1.0, 50  # the order of Euler's method, which it has once steps are small
AROUND, NEAR = 0.3, 0.1  # C1: how far from that order, and what share of the error may be left
WORSE = 3.0  # times, C2


@dataclass(frozen=True)
class Plan:
    """``steps`` of all inversions, ``further`` ones of DDIM alone; ``guided`` steps at each w.

    ``samples`` of each sampler; ``settings``: etas, steps, skips and guidances of the exactness.
    """

    images: int = 6
    steps: tuple[int, ...] = (10, 20, 50, 100)
    further: tuple[int, ...] = (200, 500, 1000)
    guided: int = 50
    guidances: tuple[float, ...] = (1.0, 1.5, 3.0, 7.5)
    samples: int = 12
    sampled: tuple[int, ...] = (10, 20, 50, 100, 1000)
    tuned: bool = True
    settings: tuple[tuple[float, ...], ...] = ((0.1, 1.0), (10, 100), (0.0, 0.36), (1.0, 15.0))


QUICK = Plan(
    2, (10,), (20, 40), 10, (1.0, 7.5), 4, (10, 20), False, ((1.0,), (10,), (0.36,), (3.5,))
)


def study(model: Any, budget: Budget) -> Finding:
    """Errors by steps and guidance, samples by steps and eta, exactness by all settings."""
    if not isinstance(model, Mixture):
        need_text(model, "reconstruction")
    plan = budget.plan(Plan(), QUICK)
    images, prompts = given(model, plan.images, f"reconstruction {budget.seed}")
    batch = Batch(images, prompts, seeds_of(budget.seed, plan.images))
    pictures = not isinstance(model, Mixture)
    tasks = inversion_tasks(model, batch, plan, plan.tuned and pictures)
    if pictures:
        options = (plan.samples, plan.sampled, budget.seed, budget.kept)
        tasks += sample_tasks(model, *options)
    tasks += exact_tasks(model, batch.part(0, 1), plan.settings)
    rows = budget.collect(tasks)
    numbers = {"n": plan.images, "left out": list(LEFT_OUT), **summarise(rows, plan.guided)}
    figures = {
        "steps": draw_steps(rows, fitted_from(rows)),
        "guidance": draw_guidance(rows, plan.guided),
    }
    if pictures:
        figures["samples"] = draw_samples(rows)
    return Finding("reconstruction", "Reconstruction", numbers, rows, figures)


def inversion_tasks(model: Any, batch: Batch, plan: Plan, tuned: bool) -> list[Task]:
    """Every method at w = 1 by steps, and at the guided number of steps by w."""
    tasks, count = [], len(batch)
    for name in methods():
        further = plan.further if name == "ddim" else ()
        settings = [(n, 1.0) for n in (*plan.steps, *further)]
        settings += [(plan.guided, w) for w in plan.guidances]
        for n, w in dict.fromkeys(settings):
            if name in TUNED and (w == 1 or not tuned):  # at w = 1 there is nothing to tune
                continue
            key = {"part": "inversion", "method": name, "steps": n, "guidance": w}
            cost = n * count * (COST.get(name, 1.0) + (1 if w == 1 else 2))
            work = partial(reconstruction, model, Setting(name, n, w), batch)
            tasks.append(Task(key, cost, work))
    return tasks


def summarise(rows: list[Row], guided: int) -> Row:
    """Errors by method, the order of DDIM, and the claims."""
    numbers: Row = {"by steps": {}, "by guidance": {}}
    parts = (
        ("by steps", "steps", {"guidance": 1.0}),
        ("by guidance", "guidance", {"steps": guided}),
    )
    for part, by, fixed in parts:
        for name in dict.fromkeys(values(rows, "method", part="inversion", **fixed)):
            some = where(rows, part="inversion", method=name, **fixed)
            numbers[part][name] = {
                f"{v:g}": {key: mean(some, key, **{by: v}) for key in ("rms", "psnr", "bound")}
                for v in sorted({r[by] for r in some})
            }
    numbers["order of DDIM"] = ddim_order(rows, 0)
    numbers["order of DDIM, small steps"] = ddim_order(rows, fitted_from(rows))
    numbers["exactness"], exact = exactness(rows)
    claims = [linear(rows, numbers), accumulates(rows, guided), *exact]
    if where(rows, part="sampling"):
        numbers["samples"], drawn = quality(rows)
        claims.insert(2, drawn)
    return {**numbers, "claims": claims}


def fitted_from(rows: list[Row]) -> int:
    """The fewest steps of the fit: small ones, or all where there are not three numbers of them."""
    steps = sorted(set(values(rows, "steps", part="inversion", method="ddim", guidance=1.0)))
    fine = [n for n in steps if n >= SMALL]
    return fine[0] if len(fine) > 2 else steps[0]


def ddim_order(rows: list[Row], least: int) -> Row:
    """The order of DDIM inversion: error ~ (step size)^order, fitted image by image.

    ``least``: the fewest steps that count.
    """
    some = where(rows, part="inversion", method="ddim", guidance=1.0)
    some, found = [r for r in some if r["steps"] >= least], []
    for image in sorted({r["image"] for r in some}):
        own = where(some, image=image)
        found.append(order([r["steps"] for r in own], [r["rms"] for r in own]))
    return summary(found)


def linear(rows: list[Row], numbers: Row) -> Row:
    """C1: the error falls about linearly with the step size, and little is left at the end."""
    some = where(rows, part="inversion", method="ddim", guidance=1.0)
    most, least = max(values(some, "steps")), min(values(some, "steps"))
    left = factor(where(some, steps=most), where(some, steps=least), "rms")
    fine, low, high = numbers["order of DDIM, small steps"], FIRST - AROUND, FIRST + AROUND
    what = f"error at {most} steps over that at {least}, geometric mean"
    power = f"p of error ~ (step size)^p, from {fitted_from(rows)} steps on"
    checks = [
        Check(power, fine, above=low, below=high),
        Check(what, left, below=NEAR, form=".4f"),
    ]
    return claim("C1", checks, len({r["image"] for r in some}), rule="rms error in latents")


def accumulates(rows: list[Row], guided: int) -> Row:
    """C2: under guidance the code that DDIM inverted at w = 1 reconstructs badly."""
    some = where(rows, part="inversion", method="ddim", steps=guided)
    most = max(values(some, "guidance"))
    times = factor(where(some, guidance=most), where(some, guidance=1.0), "rms")
    what = f"rms error in latents at guidance {most:g} over that at 1, geometric mean"
    return claim("C2", [Check(what, times, above=WORSE, form=".1f")], times["n"])
