"""What a job would take, from its manifest and one short probe: evaluations, time, disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from noisespace.batch.local import Order, worker_of
from noisespace.batch.plan import PAINTED, Choice, Group, Plan
from noisespace.batch.specs import method_of
from noisespace.batch.work import Ready
from noisespace.errors import RunError
from noisespace.pictures.metadata import png_bytes
from noisespace.planning.settings import check_inversion

STEPS = 8  # of the probe: so many that a share of them is skipped as of the job's own


def price(plan: Plan, order: Order, model: Any) -> dict[str, Any]:
    """Prices a job by one probe a choice, in few steps, scaled to the choice's own.

    The probe's images are noise of the model's own size: larger ones take longer. What a mask takes
    to be found grows with steps less than it is priced. Nothing is written.
    """
    evaluations, seconds, disk = 0.0, 0.0, 0.0
    for groups in by_choice(plan.groups).values():
        images = sum(len(group.items) for group in groups)
        one = probe(groups[0], order, model, order.settings.batch)
        evaluations += one["evaluations"] * images
        seconds += one["seconds"] * images
        disk += one["bytes"] * images
    edits = sum(len(item.targets) for group in plan.groups for item in group.items)
    return {
        "rows": plan.rows,
        "edits": edits,
        "groups": len(plan.groups),
        "workers": max(1, order.workers),
        "evaluations": round(evaluations),
        "seconds": round(seconds / max(1, order.workers), 1),
        "disk_mb": round(disk / 1e6, 3),
    }


def by_choice(groups: Sequence[Group]) -> dict[Choice, list[Group]]:
    found: dict[Choice, list[Group]] = {}
    for group in groups:
        found.setdefault(group.choice, []).append(group)
    return found


def lattice_evaluations(method: Any, w: float) -> int:
    """Those of an image's first state for the lattice of its code, however many steps there are."""
    lattice = getattr(method, "lattice", False) and not method.live
    return (2 if w == 1 else 4) * lattice


def probe(group: Group, order: Order, model: Any, count: int) -> dict[str, float]:
    """What one image of a choice takes: evaluations, seconds, bytes of its outputs.

    Of a group's own prompts, editor and mask, in few steps; in all of them where the method does
    not go with few.
    """
    choice, worker = group.choice, worker_of(order, model=model)
    method = method_of(choice.method)
    _, grid, w = check_inversion(model, method, choice.steps, choice.source_guidance, None)
    own = len(grid)
    side = model.resolution
    rng = np.random.default_rng(0)
    mask = np.full((side, side), 255, np.uint8) if choice.mask == PAINTED else None
    if mask is not None:
        mask[: side // 4] = 0  # a full one is no mask, which is warned of
    pairs = [
        Ready(item, (rng.random((side, side, 3)) * 255).astype(np.uint8), mask)
        for item in group.items[:count]
    ]
    if order.settings.speed.compile:  # which the first of a size pays for
        worker.tried(replace(choice, steps=min(STEPS, own)), pairs)
    for few in dict.fromkeys((min(STEPS, own), own)):
        done = next(iter(worker.tried(replace(choice, steps=few), pairs).values()))
        if not done.reason:
            break
    else:
        raise RunError(f"the probe of {choice.method} failed: {done.reason}")
    pictures = sum(len(png_bytes(p)) for p in done.pictures) or 3 * side * side * choice.targets
    code = len(done.code.to_bytes()) * own / few if done.code is not None else 0
    scale, once = own / few, lattice_evaluations(method, w)
    return {
        "evaluations": max(0, (done.evaluations or 0) - once) * scale + once,
        "seconds": (done.seconds or 0) * scale,
        "bytes": pictures + code,
    }
