"""Another prompt over the same noise maps: native ones and edit-friendly ones (claim C12)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from noisespace.api import edit, invert
from noisespace.core.code import Code
from noisespace.errors import RunError
from noisespace.inversion import CycleDiffusion, EditFriendly
from noisespace.planning.settings import method_defaults
from noisespace.study.budget import Budget, Task
from noisespace.study.claims import ENOUGH, Check, claim
from noisespace.study.finding import Finding
from noisespace.study.kept import Kept
from noisespace.study.measure import Row, mean, paired, psnr, summary, values, where
from noisespace.study.style import Tile, dress, figure, mosaic, strip
from noisespace.study.subjects import (
    SceneEdit,
    as_asked,
    judged,
    native,
    need_text,
    scene_edits,
    seeds_of,
)
from noisespace.train.judge import Verdict
from noisespace.train.scenes import LARGEST, SMALLEST, Scene, SceneObject

# what is fixed under the new prompt; "fresh noise" fixes nothing: another sample
KINDS = ("edit-friendly", "cycle-diffusion, eta 1", "native", "fresh noise")
EDITED = ("colour", "background", "shape")
NEAR = 3.0  # pixels that an object may move and still be where it was
BATCH = 12


@dataclass(frozen=True)
class Plan:
    """``images``: native samples, each with one edit; ``steps``: all run, nothing is skipped."""

    images: int = 12
    steps: int = 100


QUICK = Plan(images=6, steps=20)


def study(model: Any, budget: Budget) -> Finding:
    """Native samples under another prompt, by their own maps and by those of an inversion."""
    need_text(model, "fixed-maps")
    plan = budget.plan(Plan(), QUICK)
    edits = scene_edits(plan.images, f"fixed maps {budget.seed}", EDITED)
    seeds, tasks = seeds_of(budget.seed, plan.images), []
    for start in range(0, plan.images, BATCH):
        part = slice(start, start + BATCH)
        work = partial(measured, model, edits[part], seeds[part], plan.steps, start, budget.kept)
        cost = plan.steps * len(edits[part]) * (3 + 2 * len(KINDS))
        tasks.append(Task({"from": start, "steps": plan.steps}, cost, work))
    rows = budget.collect(tasks)
    if not rows:
        raise RunError(
            "the judge sees no scene in any sample of this model: the study needs a model that "
            "draws scenes, such as scenes itself"
        )
    numbers = {"n": len(where(rows, maps="native")), "samples": plan.images, **summarise(rows)}
    figures = {"structure": draw(rows), "pictures": draw_pictures(budget.kept, rows)}
    return Finding("fixed-maps", "Another prompt over fixed maps", numbers, rows, figures)


def codes_of(
    model: Any, prompts: Sequence[str], seeds: Sequence[int], steps: int
) -> dict[str, Code]:
    """The samples' own maps, those of inversions of the same samples, and another sample's."""
    own = native(model, prompts, seeds, steps=steps)
    options = {"steps": steps, "guidance": 1.0, "seed": list(seeds)}
    found = {
        "edit-friendly": invert(model, own.path[-1], prompts, EditFriendly(skip=0), **options),
        "cycle-diffusion, eta 1": invert(
            model, own.path[-1], prompts, CycleDiffusion(0, 1.0), **options
        ),
        "native": own,
    }
    # the noise of another seed, and no picture that it is of
    other = native(model, prompts, [seed + 5000 for seed in seeds], steps=steps)
    return {**found, "fresh noise": other}


def measured(
    model: Any,
    edits: Sequence[SceneEdit],
    seeds: Sequence[int],
    steps: int,
    start: int,
    kept: Kept,
) -> list[Row]:
    """The rows of one batch; samples in which the judge sees no scene have none."""
    codes = codes_of(model, [e.scene.caption for e in edits], seeds, steps)
    sources = edit(model, codes["native"], [e.scene.caption for e in edits], guidance=1.0).images
    scenes = [scene_of(v) for v in judged(sources)]
    w, rows = method_defaults(model, EditFriendly()).edit, []
    for kind, code in codes.items():
        found = edit(model, code, [e.truth.caption for e in edits], guidance=w).images
        verdicts = judged(found)
        for i, (asked, scene) in enumerate(zip(edits, scenes, strict=True)):
            if scene is None:
                continue
            kept.keep(f"source {start + i}", sources[i])
            kept.keep(f"{kind} {start + i}", found[i])
            row = {"maps": kind, "image": start + i, "kind": asked.kind, "guidance": w}
            rows.append({**row, **compared(asked, scene, sources[i], found[i], verdicts[i])})
    return rows


def scene_of(verdict: Verdict) -> Scene | None:
    """The scene that the judge reads in a picture."""
    if not verdict.found or verdict.colour == verdict.background or verdict.size is None:
        return None
    size = float(np.clip(verdict.size, SMALLEST, LARGEST))
    told: Any = verdict  # all of it is told where a scene was found
    thing = SceneObject(told.shape, told.colour, told.texture, size, told.place)
    return Scene((thing,), told.background, told.gradient)


def compared(asked: SceneEdit, scene: Scene, source: Any, picture: Any, verdict: Verdict) -> Row:
    """Where nothing should change (PSNR, dB), how far the object moved (pixels), what is read."""
    thing = scene.objects[0]
    whole = SceneEdit(asked.kind, scene, scene)
    moved = math.dist(verdict.place, thing.place) if verdict.place else None
    same = moved is not None and moved <= NEAR
    same = same and (asked.kind == "shape" or verdict.shape == thing.shape)
    grown = abs((verdict.size or 0.0) / thing.size - 1)
    return {
        "outside": psnr(source, picture, whole.outside),
        "moved": moved,
        "layout kept": same and grown < 0.2,
        "asked": as_asked(asked, verdict),
    }


def summarise(rows: list[Row]) -> Row:
    """Means by what was fixed, and claim C12."""
    numbers: Row = {"maps": {}}
    for kind in KINDS:
        some = where(rows, maps=kind)
        means = {key: mean(some, key) for key in ("moved", "layout kept", "asked")}
        numbers["maps"][kind] = {"outside": summary(values(some, "outside")), **means}
    numbers["claims"] = [kept_structure(rows)]
    return numbers


def kept_structure(rows: list[Row]) -> Row:
    """C12: over edit-friendly maps the structure stays, over native ones it does not."""
    ours, own = (where(rows, maps=kind) for kind in ("edit-friendly", "native"))
    shares = paired(ours, own, "layout kept")
    checks = [
        Check("PSNR where nothing should change", paired(ours, own, "outside"), above=0, unit="dB"),
        Check("share with shape, place and size kept", shares, above=0),
    ]
    what = "edit-friendly less native maps of one sample"
    return claim("C12", checks, len(ours), least=ENOUGH, rule=what)


def draw(rows: list[Row]) -> Figure:
    """PSNR to the source where nothing should change, of every picture."""
    made = figure(6.4, 3.2)
    axes = made.subplots()
    strip(axes, {kind: values(rows, "outside", maps=kind) for kind in KINDS})
    x = "PSNR to the source where nothing should change, dB"
    dress(axes, x, "", "another prompt over fixed noise maps")
    return made


def draw_pictures(kept: Kept, rows: list[Row]) -> Figure:
    """Samples and what the new prompt makes of them."""
    images = sorted({row["image"] for row in rows})[:4]
    table = []
    for i in images:
        tiles = [Tile(kept.picture(f"source {i}"), values(rows, "kind", image=i)[0])]
        for kind in KINDS:
            found = values(rows, "outside", image=i, maps=kind)
            tiles.append(Tile(kept.picture(f"{kind} {i}"), f"{found[0]:.1f} dB"))
        table.append(tiles)
    return mosaic(table, ["sample", *(kind.replace(", ", ",\n") for kind in KINDS)])
