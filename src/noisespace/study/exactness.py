"""Is edit-friendly inversion exact, whatever its settings (claim C8)?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import Any

from noisespace.inversion import CycleDiffusion, EditFriendly
from noisespace.models.loading import load
from noisespace.study.budget import Task
from noisespace.study.finding import claim
from noisespace.study.inverting import Batch, Setting, reconstruction
from noisespace.study.measure import Row, values, where

METHODS = {"edit-friendly": EditFriendly, "cycle-diffusion": CycleDiffusion}
# the largest difference of latents (of about unit variance) that still counts as rounding
ROUNDING = {"float64": 1e-8, "float32": 1e-2}


def exact_tasks(model: Any, batch: Batch, settings: Sequence[Sequence[float]]) -> list[Task]:
    """Every combination of eta, steps, skip and guidance, in float64 and, if the model's, float32.

    ``settings``: the etas, steps, skips and guidances.
    """
    tasks = []
    kinds = ["float64"] if str(model.dtype) == "torch.float64" else ["float32", "float64"]
    for dtype, name, (eta, steps, skip, w) in product(kinds, METHODS, product(*settings)):
        key = {"part": "exact", "dtype": dtype, "method": name}
        key |= {"eta": eta, "steps": int(steps), "skip": skip, "guidance": w}
        cost = steps * (1 - skip) * (1 if w == 1 else 2) * (2 if dtype == "float64" else 1)
        tasks.append(Task(key, 2 * cost, partial(one, model, key, batch)))
    return tasks


def one(model: Any, key: Row, batch: Batch) -> list[Row]:
    """A replay of the frozen residuals, in the dtype of the key."""
    method = METHODS[key["method"]](skip=key["skip"], eta=key["eta"])
    own = model if str(model.dtype) == f"torch.{key['dtype']}" else wider(model, key["dtype"])
    return reconstruction(own, Setting(key["method"], key["steps"], key["guidance"], method), batch)


def wider(model: Any, dtype: str) -> Any:
    """The same model in another dtype."""
    return load(model.name, dtype, str(model.device))


def exactness(rows: list[Row]) -> tuple[Row, Row]:
    """The largest error of each dtype and method, and claim C8."""
    found, worst = {}, {}
    for dtype in dict.fromkeys(values(rows, "dtype", part="exact")):
        some = where(rows, part="exact", dtype=dtype)
        worst[dtype] = max(values(some, "max"))
        by = {name: max(values(some, "max", method=name)) for name in METHODS}
        found[dtype] = {**by, "settings": len(some), "rounding": ROUNDING[dtype]}
    said = ", ".join(f"{dtype} {value:.1e}" for dtype, value in worst.items())
    holds = bool(worst) and all(value < ROUNDING[dtype] for dtype, value in worst.items())
    return found, claim(holds, f"the largest difference of latents over all settings: {said}")
