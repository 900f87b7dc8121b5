"""Null-text inversion by its iterations, its ablations, negative prompts (claims C4 to C7).

How fast each is, the other half of C7, is of `times`, which runs alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from noisespace.inversion import DDIM, NegativePrompt, NullText
from noisespace.study.budget import Budget, Task
from noisespace.study.claims import Check, claim
from noisespace.study.draw_null_text import NEGATIVE, draw, draw_pictures
from noisespace.study.finding import Finding
from noisespace.study.inverting import Batch, Setting, reconstruction
from noisespace.study.kept import Kept
from noisespace.study.measure import Row, mean, paired, summary, values, where
from noisespace.study.subjects import need_text, scene_edits, seeds_of
from noisespace.study.tuned import ablations
from noisespace.study.two_objects import two_object_edits

NEAR = 0.5  # dB below the bound that C4 and C6 allow
ALIKE = 0.1  # dB between two reconstructions that count as the same
ADAM, OTHER = "null-text, adam", "null-text, other caption"


@dataclass(frozen=True)
class Plan:
    """``iterations`` a step of null-text, ``fewer`` of its ablations, ``other`` by wrong captions.

    All for guidance ``w``; ``left``: how many ablations. Wrong captions are tried on as many
    scenes of two objects as well, which are harder.
    """

    images: int = 6
    steps: int = 50
    w: float = 7.5
    iterations: tuple[int, ...] = (1, 3, 5, 10)
    fewer: tuple[int, ...] = (1, 3, 5)
    other: tuple[int, ...] = (10,)
    left: int = 5


QUICK = Plan(2, 10, iterations=(1, 3), fewer=(3,), other=(3,), left=2)


def study(model: Any, budget: Budget) -> Finding:
    """Reconstruction at the published guidance by what is tuned, how, and how long."""
    need_text(model, "null-text")
    plan = budget.plan(Plan(), QUICK)
    scenes = [e.scene for e in scene_edits(plan.images, f"null-text {budget.seed}")]
    batch = Batch(scenes, [s.caption for s in scenes], seeds_of(budget.seed, plan.images))
    rows = budget.collect(tasks(model, plan, batch, budget))
    numbers = {"n": plan.images, "guidance": plan.w, "steps": plan.steps, **summarise(rows)}
    figures = {
        "convergence": draw(rows),
        "pictures": draw_pictures(model, budget.kept, scenes, rows),
    }
    return Finding("null-text", "Convergence of null-text inversion", numbers, rows, figures)


def tasks(model: Any, plan: Plan, batch: Batch, budget: Budget) -> list[Task]:
    """Every method at every number of iterations."""
    null = NullText(guidance=plan.w, solver="gauss-newton")
    tried: list[tuple[str, int, Any, float]] = [
        ("ddim", 0, DDIM(), plan.w),
        ("ddim, w 1", 0, DDIM(), 1.0),
        (NEGATIVE, 0, NegativePrompt(), plan.w),
    ]
    for n in plan.iterations:
        tried.append(("null-text", n, replace(null, iterations=n), plan.w))
        tried.append((ADAM, n, replace(null, iterations=n, solver="adam"), plan.w))
    tried += [(OTHER, n, replace(null, iterations=n), plan.w) for n in plan.other]
    for n in plan.fewer:
        for name, method in list(ablations(plan.w).items())[: plan.left]:
            tried.append((name, n, replace(method, iterations=n), plan.w))
    wrong, out = miscaptioned(batch, budget.seed), []
    for name, n, method, w in tried:
        own = wrong if name == OTHER else batch
        setting = Setting(f"{name} {n}", plan.steps, w, method)  # the method's own guidance
        keep = partial(keep_picture, budget.kept, f"{name} {n}".replace(":", ""))
        work = partial(reconstruction, model, setting, own, keep)
        key = {"method": name, "iterations": n, "guidance": w, "steps": plan.steps}
        out.append(Task(key, plan.steps * len(own) * (3 * n + 2), work))
    return out


def miscaptioned(batch: Batch, seed: int) -> Batch:
    """The scenes, and as many of two objects, each with the caption of another of its kind."""
    count = len(batch)
    two = [e.scene for e in two_object_edits(2 * count, seed)]
    others = [e.scene.caption for e in scene_edits(count, f"other captions {seed}")]
    others += [scene.caption for scene in two[count:]]
    return Batch([*batch.images, *two[:count]], others, seeds_of(seed, 2 * count))


def keep_picture(kept: Kept, name: str, image: int, picture: Any) -> None:
    kept.keep(f"{name} {image}", picture)


def summarise(rows: list[Row]) -> Row:
    """PSNR, and how far below the autoencoder's bound, by method and iterations; the claims."""
    numbers: Row = {"methods": {}}
    for name, n in dict.fromkeys((r["method"], r["iterations"]) for r in rows):
        some = where(rows, method=name, iterations=n)
        numbers["methods"].setdefault(name, {})[str(n)] = {
            "psnr": mean(some, "psnr"),
            "below the bound": summary(r["bound"] - r["psnr"] for r in some),
            "rms": mean(some, "rms"),
            "seconds": mean(some, "seconds"),
        }
    numbers["claims"] = [reaches(rows), ablated(rows), any_caption(rows), negative(rows)]
    return numbers


def last(rows: list[Row], name: str) -> list[Row]:
    """A method's rows at its largest number of iterations, with how far they stay below."""
    some = where(rows, method=name)
    most = max((r["iterations"] for r in some), default=0)
    return [{**r, "below": r["bound"] - r["psnr"]} for r in where(some, iterations=most)]


def reaches(rows: list[Row]) -> Row:
    """C4: null-text comes within .5 dB of the bound, DDIM does not."""
    ours, plain = (last(rows, name) for name in ("null-text", "ddim"))
    options: Row = {"unit": "dB below the autoencoder's own"}
    checks = [
        Check("null-text", summary(values(ours, "below")), below=NEAR, **options),
        Check("DDIM", summary(values(plain, "below")), above=NEAR, **options),
    ]
    return claim("C4", checks, len(ours))


def ablated(rows: list[Row]) -> Row:
    """C5: every ablation is worse than null-text by Adam at as many iterations."""
    own, checks = where(rows, method=ADAM), []
    names = [n for n in dict.fromkeys(values(rows, "method")) if n.startswith("ablation: ")]
    for name in names:
        some = where(rows, method=name)
        most = max({r["iterations"] for r in some} & {r["iterations"] for r in own})
        gap = paired(where(own, iterations=most), where(some, iterations=most), "psnr")
        what = f"{name.removeprefix('ablation: ')}, {most} iterations"
        checks.append(Check(what, gap, above=0, unit="dB worse"))
    return claim("C5", checks, len({r["image"] for r in own}), rule="null-text by Adam less each")


def any_caption(rows: list[Row]) -> Row:
    """C6: with the caption of another picture null-text still reaches the bound."""
    found = summary(values(last(rows, OTHER), "below"))
    what, unit = "null-text with another picture's caption", "dB below the autoencoder's own"
    return claim("C6", [Check(what, found, below=NEAR, unit=unit)], found["n"])


def negative(rows: list[Row]) -> Row:
    """C7: a negative prompt reconstructs as DDIM at w = 1 does."""
    own, plain = (last(rows, name) for name in (NEGATIVE, "ddim, w 1"))
    gap, what = paired(own, plain, "psnr"), "negative prompt less DDIM at guidance 1"
    check = Check(what, gap, above=-ALIKE, below=ALIKE, unit="dB")
    return claim("C7", [check], len(own), part="reconstruction")
