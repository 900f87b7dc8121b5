"""Null-text inversion by its iterations, its ablations, negative prompts (claims C4 to C7)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from noisespace.inversion import DDIM, NegativePrompt, NullText
from noisespace.study.budget import Budget, Task
from noisespace.study.finding import Finding, claim
from noisespace.study.inverting import Batch, Setting, reconstruction
from noisespace.study.kept import Kept
from noisespace.study.measure import Row, mean, summary, values, where, words
from noisespace.study.style import INK, Tile, below, curve, dress, figure, mosaic
from noisespace.study.subjects import autoencoded, need_text, scene_edits, seeds_of
from noisespace.study.tuned import ablations

NEAR = 0.5  # dB below the bound that C4 and C6 allow
FASTER = 30  # times, of C7
ADAM, OTHER, NEGATIVE = "null-text, adam", "null-text, other caption", "negative-prompt"


@dataclass(frozen=True)
class Plan:
    """``iterations`` a step of null-text, ``fewer`` of its ablations, all for guidance ``w``."""

    images: int = 3
    steps: int = 50
    w: float = 7.5
    iterations: tuple[int, ...] = (1, 2, 3, 5, 10)
    fewer: tuple[int, ...] = (1, 3, 10)
    left: int = 5  # ablations


QUICK = Plan(2, 10, iterations=(1, 3), fewer=(3,), left=2)


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
    null = NullText(guidance=plan.w)
    tried: list[tuple[str, int, Any, float]] = [
        ("ddim", 0, DDIM(), plan.w),
        ("ddim, w 1", 0, DDIM(), 1.0),
        (NEGATIVE, 0, NegativePrompt(), plan.w),
    ]
    for n in plan.iterations:
        tried.append(("null-text", n, replace(null, iterations=n), plan.w))
        tried.append((ADAM, n, replace(null, iterations=n, solver="adam"), plan.w))
    for n in plan.fewer:
        tried.append((OTHER, n, replace(null, iterations=n), plan.w))
        for name, method in list(ablations(plan.w).items())[: plan.left]:
            tried.append((name, n, replace(method, iterations=n), plan.w))
    others = [e.scene.caption for e in scene_edits(len(batch), f"other captions {budget.seed}")]
    out = []
    for name, n, method, w in tried:
        prompts = others if name == OTHER else batch.prompts
        setting = Setting(f"{name} {n}", plan.steps, w, method)  # the method's own guidance
        keep = partial(keep_picture, budget.kept, f"{name} {n}".replace(":", ""))
        work = partial(reconstruction, model, setting, replace(batch, prompts=prompts), keep)
        key = {"method": name, "iterations": n, "guidance": w, "steps": plan.steps}
        out.append(Task(key, plan.steps * len(batch) * (3 * n + 2), work))
    return out


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
    numbers["claims"] = {"C4": reaches(numbers), "C5": ablated(numbers)}
    numbers["claims"] |= {"C6": any_caption(numbers), "C7": negative(numbers)}
    return numbers


def last(numbers: Row, name: str) -> Row:
    """A method's figures at its largest number of iterations."""
    found = numbers["methods"][name]
    return found[max(found, key=int)]


def reaches(numbers: Row) -> Row:
    """C4: null-text comes within .5 dB of the bound, DDIM does not."""
    ours, plain = (last(numbers, name)["below the bound"] for name in ("null-text", "ddim"))
    return claim(
        ours["mean"] <= NEAR < plain["mean"],
        f"below the autoencoder's own: null-text {words(ours, '.2f', 'dB')}, DDIM "
        f"{words(plain, '.2f', 'dB')}",
    )


def ablated(numbers: Row) -> Row:
    """C5: every ablation is worse than null-text by Adam at as many iterations."""
    found = {}
    for name, by in numbers["methods"].items():
        if name.startswith("ablation: "):
            n = max(set(by) & set(numbers["methods"][ADAM]), key=int)
            own = numbers["methods"][ADAM][n]["psnr"]
            found[name.removeprefix("ablation: ")] = own - by[n]["psnr"]
    said = ", ".join(f"{name} {gap:.2f} dB" for name, gap in found.items())
    return claim(bool(found) and min(found.values()) > 0, f"worse than null-text by: {said}")


def any_caption(numbers: Row) -> Row:
    """C6: with the caption of another picture null-text still reaches the bound."""
    found = last(numbers, OTHER)["below the bound"]
    said = f"with another picture's caption {words(found, '.2f', 'dB')} below the autoencoder's own"
    return claim(found["mean"] <= NEAR, said)


def negative(numbers: Row) -> Row:
    """C7: a negative prompt reconstructs as DDIM at w = 1 does, much faster than null-text."""
    own, plain, slow = (last(numbers, name) for name in (NEGATIVE, "ddim, w 1", ADAM))
    apart, ratio = own["psnr"] - plain["psnr"], slow["seconds"] / max(own["seconds"], 1e-9)
    most = max(numbers["methods"][ADAM], key=int)
    return claim(
        abs(apart) < 0.1 and ratio > FASTER,
        f"negative prompt less DDIM at guidance 1: {apart:+.2f} dB; null-text by Adam with {most} "
        f"iterations takes {ratio:.0f} times as long",
    )


def draw(rows: list[Row]) -> Figure:
    """PSNR by iterations a step, between the autoencoder's bound and DDIM."""
    made = figure(6.8, 4.9)
    axes = made.subplots()
    names = dict.fromkeys(r["method"] for r in rows if r["iterations"])
    for place, name in enumerate(names):
        some = where(rows, method=name)
        at = sorted({r["iterations"] for r in some})
        label = name.removeprefix("ablation: ")
        curve(axes, at, [mean(some, "psnr", iterations=n) for n in at], label, place)
    flat = {"the autoencoder's own": ("bound", "ddim", "-"), "negative prompt": (0, NEGATIVE, "--")}
    for label, (key, name, line) in {**flat, "DDIM": (0, "ddim", ":")}.items():
        level = mean(rows, key or "psnr", method=name)
        axes.axhline(level, color=INK, linewidth=1.0, linestyle=line, label=label)
    axes.set_xscale("log")
    ticks = sorted({r["iterations"] for r in rows if r["iterations"]})
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.minorticks_off()
    w = values(rows, "guidance", method="ddim")[0]
    dress(axes, "iterations a step", "PSNR of the reconstruction, dB", f"guidance {w:g}")
    below(made, axes, 3)
    return made


def draw_pictures(model: Any, kept: Kept, scenes: list, rows: list[Row]) -> Figure:
    """Up to three pictures: the bound, DDIM, null-text and its ablations at most iterations."""
    names = [n for n in dict.fromkeys(r["method"] for r in rows) if n != "ddim, w 1"]
    some, table = scenes[:3], []
    bounds = autoencoded(model, some)
    for i, scene in enumerate(some):
        tiles = [Tile(scene.render()), Tile(np.asarray(bounds[i]))]
        for name in names:
            n = max(values(rows, "iterations", method=name))
            found = mean(rows, "psnr", method=name, iterations=n, image=i)
            picture = kept.picture(f"{name} {n}".replace(":", "") + f" {i}")
            tiles.append(Tile(picture, f"{found:.1f} dB"))
        table.append(tiles)
    heads = [n.removeprefix("ablation: ").replace(" inversion", "\ninversion") for n in names]
    heads = [h.replace(", ", ",\n").replace("-prompt", "-\nprompt") for h in heads]
    return mosaic(table, ["source", "auto-\nencoder", *heads], tile=1.2)
