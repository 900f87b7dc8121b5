"""Where a source caption's words look, and where DiffEdit finds it to differ from the target's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from noisespace.api import attention_maps
from noisespace.bench.scenes import SceneEdit
from noisespace.core.code import Code
from noisespace.editing import DiffEdit, EditContext
from noisespace.pictures.sheet import heat
from noisespace.study.kept import Kept
from noisespace.study.measure import Row
from noisespace.study.source_captions import naming, source, target
from noisespace.study.two_objects import iou, share_inside


def overlap(values: np.ndarray, mask: np.ndarray) -> float:
    """IoU of where a map, enlarged, exceeds half its maximum, and a mask, both of its size."""
    size = mask.shape
    large = interpolate(torch.from_numpy(values)[None, None], size, mode="bilinear")[0, 0]
    high, true = (large > large.max() / 2).numpy(), mask > 0.5
    return float((high & true).sum() / max((high | true).sum(), 1))


def looks(
    model: Any, code: Code, name: str, some: Sequence[SceneEdit], start: int, kept: Kept
) -> list[Row]:
    """By scene: the shares of the words' attention inside the edited object; {} without words.

    "best word": the largest share; "noun": that of the object's noun, "noun iou": of where it is
    above half its maximum, where the caption has it; "area": the object's share of the picture.
    """
    if name == "empty":
        return [{} for _ in some]
    found, rows = attention_maps(model, code), []
    for i, one in enumerate(some):
        maps = dict(zip(found.words[i], found.maps[i].cpu().numpy(), strict=True))
        mask, noun = one.scene.mask(0), naming(name, one)
        shares = [share_inside(m, mask) for m in maps.values()]
        row: Row = {"best word": max(shares), "area": float(mask.mean())}
        if noun:
            row["noun"] = share_inside(maps[noun], mask)
            row["noun iou"] = overlap(maps[noun], mask)
            kept.keep(f"noun {name} {start + i}", heat(one.scene.render(), maps[noun]))
        rows.append(row)
    return rows


@torch.no_grad()
def differences(
    model: Any, code: Code, name: str, some: Sequence[SceneEdit], start: int, kept: Kept
) -> list[Row]:
    """By scene: DiffEdit's map of source against target, with the true place.

    "mask iou": of its mask; "mask share": of the map inside; "touched": the place's own share.
    """
    prompts = [source(name, e) for e in some], [target(name, e) for e in some], [None] * len(some)
    own, others, null = (model.embed(p) for p in prompts)
    context = EditContext(model, code, own, others, null, (1.0, 1.0))
    editor = DiffEdit()
    difference = editor.difference(context)
    hard = editor.inside(difference)[:, 0].cpu().numpy()
    soft, rows = difference[:, 0].cpu().numpy(), []
    for i, one in enumerate(some):
        kept.keep(f"diffedit {name} {start + i}", heat(one.scene.render(), soft[i]))
        found = {"mask iou": iou(one.touched, hard[i]), "touched": float(one.touched.mean())}
        rows.append({**found, "mask share": share_inside(soft[i], one.touched)})
    return rows
