"""Several concepts at once, each with its own weight, sign, warm-up and mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from noisespace.core.controls import Controls
from noisespace.core.grid import Level
from noisespace.core.guidance import edited_threshold
from noisespace.core.prediction import Prediction
from noisespace.editing.context import EditContext, first_step
from noisespace.errors import InputError


@dataclass(frozen=True)
class Concept:
    """One concept to add, or to take away with ``away``.

    ``scale``: its guidance weight; ``warmup``: executed steps (int) or a share of them (float)
    before it acts; ``quantile``: it acts where its guidance is among the largest, above this
    quantile of its absolute values (0: everywhere).
    """

    prompt: str
    scale: float = 5.0
    away: bool = False
    warmup: int | float = 0
    quantile: float = 0.9


@dataclass(frozen=True)
class Concepts:
    """Multi-concept guidance in the manner of LEDITS++ (arXiv 2311.16711, eq. 4-8).

    To the guided prediction of every target row is added, for each concept,
    ``+-scale * mask * (eps(concept) - eps(null))``, where the mask keeps the largest entries.
    The masks are those of the noise estimates; the paper multiplies them with attention masks,
    for which ``mask=AttentionMask(word)`` serves here.
    """

    concepts: Concept | Sequence[Concept]

    def controls(self, context: EditContext) -> Controls:
        given = [self.concepts] if isinstance(self.concepts, Concept) else self.concepts
        if not given or not all(isinstance(c, Concept) and c.prompt for c in given):
            raise InputError(f"concepts must be Concept(prompt, ...) with a prompt, got {given!r}")
        for c in given:
            if not isinstance(c.scale, (int, float)) or not isfinite(c.scale):
                raise InputError(f"the scale of {c.prompt!r} must be a number, got {c.scale!r}")
            if not 0 <= c.quantile < 1:
                raise InputError(
                    f"the quantile of {c.prompt!r} must be in [0, 1), got {c.quantile}"
                )
        starts = [first_step(c.warmup, context.total, f"the warmup of {c.prompt!r}") for c in given]
        count = context.images * context.each
        nulls = context.null.rows([i for i, _ in context.pairs()])
        texts = [context.model.embed([c.prompt] * count) for c in given]

        def guide(k: int, x: Tensor, level: Level, prediction: Prediction) -> Prediction:
            active = [i for i, start in enumerate(starts) if k >= start]
            if not active or not bool((level.alpha > 0).all()):
                return prediction  # a level without signal has no x0 for noise to move
            rows = 1 + context.each
            chosen = torch.tensor([r for r in range(len(x)) if r % rows])
            text = nulls
            for i in active:
                text = text.cat(texts[i])
            n = 1 + len(active)
            at = level.rows(torch.zeros(n * count, dtype=torch.long))
            states = x[chosen.to(x.device)]
            parts = context.model.denoise(states.repeat(n, 1, 1, 1), at, text).eps.chunk(n)
            added = torch.zeros_like(states)
            for part, i in zip(parts[1:], active, strict=True):
                delta, c = part - parts[0], given[i]
                kept = delta.abs() >= edited_threshold(delta, c.quantile)
                added += (-c.scale if c.away else c.scale) * kept * delta
            moved = torch.zeros_like(x).index_add(0, chosen.to(x.device), added)
            return prediction.plus_eps(moved, level)

        return Controls(guide=guide)
