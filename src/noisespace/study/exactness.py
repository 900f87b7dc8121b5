"""Is edit-friendly inversion exact, whatever its settings (claim C8)?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import product
from typing import Any

from torch import Tensor
from torch.nn.functional import logsigmoid

from noisespace.core.guidance import Guidance
from noisespace.inversion import CycleDiffusion, EditFriendly
from noisespace.models.families.analytic import Mixture
from noisespace.models.guided import Guided
from noisespace.models.loading import load
from noisespace.study.budget import Task
from noisespace.study.claims import Check, claim, exact
from noisespace.study.composed import Composed
from noisespace.study.inverting import Batch, Setting, reconstruction
from noisespace.study.measure import Row, values, where

OURS = "edit-friendly"  # residuals in parallel, states on a lattice
METHODS = {
    OURS: EditFriendly,
    "edit-friendly, no lattice": partial(EditFriendly, lattice=False),
    "edit-friendly, sequential": partial(EditFriendly, order="sequential"),
    "cycle-diffusion": CycleDiffusion,
    "cycle-diffusion, no lattice": partial(CycleDiffusion, lattice=False),
}
# the largest difference of latents (of about unit variance) that still counts as rounding
ROUNDING = {"float64": 1e-10, "float32": 2e-5}
SETTINGS = ("eta", "steps", "skip", "guidance")
RULES = ("classifier", "proximal", "concepts")  # guidance besides classifier-free
CONCEPTS, SCALE = ("a red circle", "a blue background"), 3.0


def exact_tasks(model: Any, batch: Batch, settings: Sequence[Sequence[float]]) -> list[Task]:
    """Every combination of eta, steps, skip and guidance, in float64 and, if the model's, float32.

    ``settings``: the etas, steps, skips and guidances. The other kinds of guidance at one of them
    each.
    """
    kinds = ["float64"] if str(model.dtype) == "torch.float64" else ["float32", "float64"]
    etas, steps, skips, weights = settings
    one = (etas[-1], steps[0], skips[-1], weights[-1])
    # a mixture knows no prompts but its own components'
    rules = RULES[:2] if isinstance(model, Mixture) else RULES
    every = [("cfg", *found) for found in product(*settings)] + [(r, *one) for r in rules]
    tasks, model_of = [], by_dtype(model)
    for dtype, name, (rule, eta, n, skip, w) in product(kinds, METHODS, every):
        if rule == "proximal" and "sequential" in name:
            continue  # what is computed in order has no live code to put under another rule
        key = {"part": "exact", "dtype": dtype, "method": name, "rule": rule}
        key |= {"eta": eta, "steps": int(n), "skip": skip, "guidance": w}
        tasks.append(task(model_of, batch, key, n * (1 - skip) * (1 if w == 1 else 2)))
    return tasks


def task(model_of: Callable[[str], Any], batch: Batch, key: Row, cost: float) -> Task:
    """One replay of frozen residuals; float64 costs about twice as much."""
    wide = 2 if key["dtype"] == "float64" else 1
    return Task(key, 2 * cost * wide, partial(replayed, model_of, key, batch))


def replayed(model_of: Callable[[str], Any], key: Row, batch: Batch) -> list[Row]:
    """A replay in the dtype of the key, under its kind of guidance."""
    own, rule = under(model_of(key["dtype"]), key["rule"]), None
    if key["rule"] == "proximal":
        rule = Guidance("proximal")
    later = {} if rule is None else {"live": True}  # frozen when it is under the rule
    method = METHODS[key["method"]](skip=key["skip"], eta=key["eta"], **later)
    setting = Setting(key["method"], key["steps"], key["guidance"], method, rule)
    return reconstruction(own, setting, batch)


def by_dtype(model: Any) -> Callable[[str], Any]:
    """The model in the dtype asked for, another one than its own loaded once."""

    @cache
    def found(dtype: str) -> Any:
        if str(model.dtype) == f"torch.{dtype}":
            return model
        return load(model.name, dtype, str(model.device))

    return found


def under(model: Any, rule: str) -> Any:
    """The model under guidance by a classifier or by further concepts."""
    if rule == "classifier":
        return Guided(model, redness, SCALE)
    return Composed(model, CONCEPTS, SCALE) if rule == "concepts" else model


def redness(pixels: Tensor, prompts: Sequence[str]) -> Tensor:
    """log p(red) of a logistic classifier, (rows,): how far the first channel is above the mean."""
    return logsigmoid(4 * (pixels[:, 0].mean((1, 2)) - pixels.mean((1, 2, 3))))


def exactness(rows: list[Row]) -> tuple[Row, list[Row]]:
    """The largest error of each dtype and method, and claim C8 by skip.

    Three variants are stated: residuals in parallel without a lattice, where a replay grows the
    rounding of its noisiest steps; with it, which the claim is decided by; and the algorithm as it
    is printed, one evaluation after the other. A part a skip, since that is what counts.
    """
    found: Row = {}
    for dtype in dict.fromkeys(values(rows, "dtype", part="exact")):
        some = where(rows, part="exact", dtype=dtype)
        by = {name: max(values(some, "max", method=name)) for name in METHODS}
        rules = {r: max(values(some, "max", rule=r)) for r in dict.fromkeys(values(some, "rule"))}
        worst = max(some, key=lambda row: row["max"])
        at = {key: worst[key] for key in ("method", *SETTINGS)}
        found[dtype] = {**by, "by guidance": rules, "worst at": at, "settings": len(some)}
    ours = where(rows, part="exact", method=OURS)
    skips = dict.fromkeys(values(ours, "skip"))
    parts = [exact_at(where(ours, skip=skip), skip) for skip in skips]
    return found, [*parts, varied(ours)]


def varied(ours: list[Row]) -> Row:
    """C8 is of every setting: with one value of each nothing is decided."""
    count = sum(len(set(values(ours, name))) > 1 for name in SETTINGS)
    whole = count == len(SETTINGS)
    found = exact(count) if whole else {**exact(count), "low": math.nan, "high": math.nan}
    check = Check("of eta, steps, skip and guidance, tried at several values", found, above=3.5)
    return claim("C8", [check], len(ours), least=1, part="settings tried")


def bounded(dtype: str, errors: list[float]) -> Check:
    """The largest of some errors, which rounding of the dtype must explain."""
    worst = exact(max(errors), len(errors))
    return Check(dtype, worst, below=ROUNDING[dtype], form=".1e")


def exact_at(some: list[Row], skip: float) -> Row:
    """C8 at one skip: the largest error over all else is rounding."""
    dtypes = dict.fromkeys(values(some, "dtype"))
    checks = [bounded(dtype, values(some, "max", dtype=dtype)) for dtype in dtypes]
    what = (
        "the largest difference of latents after a real replay, over etas, steps, weights and "
        "kinds of guidance; n counts the replays"
    )
    return claim("C8", checks, len(some), least=1, part=f"skip {skip:g}", rule=what)
