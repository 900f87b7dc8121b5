"""The error of fewer steps and of cached features, and when compiled code pays; on `scenes`.

    python benchmarks/presets.py [--scenes 24] [--compile] [--page docs/performance.md]

Held-out two-object scenes whose true edits are known, edit-friendly at the model's own guidance,
inverted and edited one by one, all settings of a scene in turn. 4 minutes on two free cores;
``--compile`` needs a C++ compiler and takes 5 more.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from machine import clock, environment, stoppable
from page import check_place, put, table

import noisespace as ns
from noisespace.bench.scenes import scene_edits
from noisespace.bench.statistics import difference
from noisespace.models.caching import Cached
from noisespace.models.speed import FAST_STEPS, HALF
from noisespace.study.measure import psnr

# (steps, cache); the first is what the others are compared with
SETTINGS = [(100, None), (100, 2), (100, 3), (100, 5), (50, None), (50, 2)]
SETTINGS += [(FAST_STEPS, None), (FAST_STEPS, 2), (20, None), (10, None)]


@dataclass
class Tried:
    """One setting over all scenes."""

    steps: int
    cache: int | None
    true: list[float] = field(default_factory=list)  # PSNR to the true edit
    whole: list[float] = field(default_factory=list)  # PSNR to the edit of the first setting
    seconds: list[float] = field(default_factory=list)


def edited(model: Any, case: Any, steps: int) -> Any:
    code = ns.invert(model, case.scene, case.scene.caption, steps=steps)
    return ns.edit(model, code, case.truth.caption).images[0]


def tried(count: int) -> list[Tried]:
    model, out = ns.load("scenes", device="cpu"), [Tried(*setting) for setting in SETTINGS]
    edited(model, scene_edits(1)[0], 4)
    for index, case in enumerate(scene_edits(count, seed="presets")):
        first = None
        for one in out:
            at = model if one.cache is None else Cached(model, one.cache)
            seconds, picture = clock(lambda at=at, one=one, case=case: edited(at, case, one.steps))
            first = picture if first is None else first
            one.true.append(psnr(picture, case.truth.render()))
            one.whole.append(psnr(picture, first))
            one.seconds.append(seconds)
        print(f"[{index + 1} of {count}] {sum(one.seconds[-1] for one in out):.1f} s", flush=True)
    return out


def text_of(some: list[Tried], about: dict[str, Any]) -> str:
    base, rows = some[0], []
    for one in some:
        away = difference(one.true, base.true)
        shift = "" if one is base else f"{away.mean:+.1f} ({away.low:+.1f} to {away.high:+.1f})"
        near = "" if one is base else f"{np.mean(one.whole):.1f} (worst {min(one.whole):.1f})"
        name = "**fast**" if (one.steps, one.cache) == (FAST_STEPS, None) else ""
        faster = median(a / b for a, b in zip(base.seconds, one.seconds, strict=True))
        rows.append(
            [
                str(one.steps),
                str(one.cache or ""),
                name,
                f"{np.mean(one.true):.1f}",
                shift,
                near,
                f"{median(one.seconds):.2f}",
                f"{faster:.1f}x",
            ]
        )
    heads = ("steps", "cache", "preset", "to the true edit, dB", "against 100 steps, dB (95 %)")
    return "\n".join(
        [
            f"{len(base.true)} held-out scenes; {about['cpu']}, {about['threads']} threads, load "
            f"{about['load']} at the start; seconds of an inversion and an edit, medians.",
            "",
            table((*heads, "to the picture of 100 whole steps, dB", "s", "faster"), rows),
        ]
    )


def compiling() -> str:
    """What compiling costs, and after how many pictures it has paid for itself."""
    case, plain = scene_edits(1)[0], ns.load("scenes", device="cpu")
    fast = ns.load("scenes", device="cpu", compile=True)
    first, _ = clock(lambda: edited(fast, case, 100))
    edited(plain, case, 100)
    turns = [[clock(lambda m=m: edited(m, case, 100))[0] for m in (plain, fast)] for _ in range(5)]
    before, after = (median(turn[i] for turn in turns) for i in (0, 1))
    gain = before - after
    pays = f"pays after {(first - after) / gain:.0f} pictures" if gain > 0 else "never pays"
    return (
        f"Compiled (`compile=True`), 100 steps: the first picture takes {first:.0f} s, each after "
        f"it {after:.2f} s instead of {before:.2f}: it {pays} of one size."
    )


def mixing() -> str:
    """Autocast on this CPU against float32, in turn."""
    case, plain = scene_edits(1)[0], ns.load("scenes", device="cpu")
    mixed = ns.load("scenes", "mixed", device="cpu")
    turns = [[clock(lambda m=m: edited(m, case, 25))[0] for m in (plain, mixed)] for _ in range(5)]
    share, kind = median(a / b for a, b in turns), str(HALF["cpu"]).removeprefix("torch.")
    return f'`dtype="mixed"` ({kind}) on this CPU: {share:.2f}x the speed of float32.'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=24)
    parser.add_argument("--compile", action="store_true", help="also what compiling costs")
    parser.add_argument("--page", type=Path, help="also the table of docs/performance.md")
    options = parser.parse_args()
    check_place(options.page, "presets")
    about = environment(torch.device("cpu"))
    parts = [text_of(tried(options.scenes), about), mixing()]
    if options.compile:
        parts.append(compiling())
    told = "\n\n".join(parts)
    print(told)
    if options.page:
        put(options.page, "presets", told)


if __name__ == "__main__":
    stoppable(main)
