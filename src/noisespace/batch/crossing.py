"""Tasks and pixels as plain data, which cross between machines without a pickle of ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from io import BytesIO

import numpy as np

from noisespace.batch.plan import Choice, Group, Item
from noisespace.batch.work import Ready, Task


def written(task: Task) -> str:
    """A task as JSON: plain data crosses between machines, no pickle of ours."""
    return json.dumps({**asdict(task), "wanted": sorted(task.wanted or ()) or None})


def read(text: str) -> Task:
    found = json.loads(text)
    group, wanted = found["group"], found["wanted"]
    items = tuple(Item(**{**i, "targets": tuple(i["targets"])}) for i in group["items"])
    whole = Group(group["index"], Choice(**group["choice"]), items)
    names = None if wanted is None else frozenset(wanted)
    return Task(whole, found["attempt"], names, found["alone"], found["poison"])


def packed(decoded: Sequence[Ready | str]) -> bytes:
    """Pixels and masks of a group, or the reasons why there are none, as one npz."""
    arrays: dict[str, np.ndarray] = {}
    for at, one in enumerate(decoded):
        if isinstance(one, str):
            arrays[f"reason{at}"] = np.array(one)
            continue
        arrays[f"pixels{at}"] = one.pixels
        if one.mask is not None:
            arrays[f"mask{at}"] = one.mask
    buffer = BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def unpacked(data: bytes, task: Task) -> list[Ready | str]:
    found = dict(np.load(BytesIO(data), allow_pickle=False))
    out: list[Ready | str] = []
    for at, item in enumerate(task.group.items):
        if f"reason{at}" in found:
            out.append(str(found[f"reason{at}"]))
        else:
            out.append(Ready(item, found[f"pixels{at}"], found.get(f"mask{at}")))
    return out
