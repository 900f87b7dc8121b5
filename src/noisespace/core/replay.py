"""THE loop: every reconstruction, edit and sample is one replay of a plan, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from noisespace.core.backbone import Backbone, Denoiser
from noisespace.core.batching import with_batching
from noisespace.core.code import Code
from noisespace.core.condition import Condition
from noisespace.core.controls import Controls, HookContext
from noisespace.core.grid import Level
from noisespace.core.guidance import with_guidance
from noisespace.core.prediction import Prediction
from noisespace.core.rows import Rows
from noisespace.core.steps import Noise, Predict
from noisespace.errors import InputError


@dataclass(frozen=True)
class EditPlan:
    """All that a replay needs, made once: what runs, and what its pictures are to be.

    ``noise``: fresh noise of the steps, for rows that get no correction; ``shown``: which target
    rows become pictures, all by default; ``record``: how to make them again.
    """

    model: Backbone
    code: Code
    rows: Rows
    controls: Controls = field(default_factory=lambda: Controls(source=False))
    noise: Noise | None = None
    shown: tuple[int, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StepRecord:
    """One executed step: ``x`` the states after it and ``x0`` the clean images predicted in it.

    Both (images, rows, c, h, w). ``index`` counts executed steps from 0 to ``total - 1``.
    """

    index: int
    total: int
    x: Tensor
    x0: Tensor


def replay(plan: EditPlan) -> Iterator[StepRecord]:
    """Runs a plan's code from its first level to the clean one, yielding one record a step.

    How a step goes is the code's; what the network is under, the rows' and the controls'. Closing
    the generator cancels.
    """
    code, rows, controls = plan.code, plan.rows, plan.controls
    denoise, total = with_batching(plan.model.begin()), len(code.path) - 1
    state = code.step.start(code, rows)
    for k in range(total):
        if controls.before:
            state = state.map_states(partial(controls.before, k))
        state = code.step.step(k, state, predictor(plan, denoise, k), plan.noise)
        if controls.after:
            state = state.map_states(partial(controls.after, k))
        if not torch.isfinite(state.x).all():
            raise InputError(
                f"the network returned NaN or infinity at step {k + 1} of {total}: "
                "use float32, or a smaller guidance"
            )
        yield StepRecord(k, total, rows.fold(state.x), rows.fold(state.x0))


def predictor(plan: EditPlan, denoise: Denoiser, k: int) -> Predict:
    """The network under everything that step k puts around it.

    From the inside out: the prompt's guidance, the model's own, the controls'.
    """
    code, controls = plan.code, plan.controls

    def predict(x: Tensor, at: int | float | Level, under: Rows | None = None) -> Prediction:
        rows, level = under or plan.rows, at if isinstance(at, Level) else code.grid.level(at)
        condition, null = embeddings(plan, rows, k)
        anchor = rows.spread(code.path[-1]) if code.rule.pull else None
        weights, mixing = rows.guidance, plan.model.mixing
        call = plan.model.guide(with_guidance(denoise, null, weights, code.rule, anchor, mixing))
        if (rows.images, rows.each) != (plan.rows.images, plan.rows.each):
            return call(x, level, condition)  # rows that the controls know nothing of
        if controls.around:
            call = controls.around(k, call)
        hooks = HookContext(controls, k, rows.images, rows.each) if controls.inside else None
        prediction = call(x, level, condition, hooks)
        return controls.guide(k, x, level, prediction) if controls.guide else prediction

    return predict


def embeddings(plan: EditPlan, rows: Rows, k: int) -> tuple[Condition, Condition]:
    """The condition and null text of step k, with the code's own per-step embeddings put in.

    An optimised null embedding serves every row; an optimised text embedding the source row and,
    by the share ``1 - blend``, the targets.
    """
    code, condition, null = plan.code, rows.condition, rows.null
    if code.null is not None:
        null = null.with_text(rows.spread(code.null[k]))
    if code.text is not None:
        tuned = rows.spread(code.text[k]).to(condition.embedding)
        share = torch.full((len(condition), 1, 1), code.blend).to(tuned)
        if rows.source:
            share[:: rows.each] = 0
        condition = condition.with_text(torch.lerp(tuned, condition.embedding, share))
    return condition, null
