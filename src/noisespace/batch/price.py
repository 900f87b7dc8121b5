"""What a job would take, from its manifest and one short probe: evaluations, time, disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from noisespace.batch.local import Order, worker_of
from noisespace.batch.plan import Choice, Group, Item, Plan
from noisespace.batch.specs import method_of
from noisespace.batch.work import Ready
from noisespace.errors import RunError
from noisespace.metadata import png_bytes
from noisespace.prepare import settled

STEPS = 4  # of the probe


def price(plan: Plan, order: Order, model: Any) -> dict[str, Any]:
    """Prices a job by one probe a choice, in few steps, scaled to the choice's own.

    The probe's image is noise of the model's own size: larger images take longer, masks and editors
    that look at the image may take more. Nothing is written.
    """
    evaluations, seconds, disk = 0.0, 0.0, 0.0
    for choice, groups in by_choice(plan.groups).items():
        images = sum(len(group.items) for group in groups)
        one = probe(choice, order, model, min(len(groups[0].items), order.settings.batch))
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


def probe(choice: Choice, order: Order, model: Any, count: int) -> dict[str, float]:
    """What one image of a choice takes: evaluations, seconds, bytes of its outputs."""
    worker = worker_of(order, model=model)
    steps = settled(model, method_of(choice.method), choice.steps, choice.source_guidance, None)
    own = len(steps[1])
    few = min(STEPS, own)
    side = model.resolution
    rng = np.random.default_rng(0)
    noise = [(rng.random((side, side, 3)) * 255).astype(np.uint8) for _ in range(count)]
    targets = ("probe",) * choice.targets
    items = [Item(f"probe-{k}", k, "", "probe", targets, None, k) for k in range(count)]
    pairs = [Ready(item, pixels) for item, pixels in zip(items, noise, strict=True)]
    short = Choice(choice.method, None, choice.guidance, choice.source_guidance, few, choice.size)
    short = Choice(**{**vars(short), "targets": choice.targets})
    done = next(iter(worker.tried(short, pairs).values()))
    if done.reason:
        raise RunError(f"the probe of {choice.method} failed: {done.reason}")
    pictures = sum(len(png_bytes(p)) for p in done.pictures) or 3 * side * side * choice.targets
    code = len(done.code.to_bytes()) * own / few if done.code is not None else 0
    scale = own / few  # of an image's share
    return {
        "evaluations": (done.evaluations or 0) * scale,
        "seconds": (done.seconds or 0) * scale,
        "bytes": pictures + code,
    }
