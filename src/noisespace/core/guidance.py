"""Guidance: denoiser in, denoiser out. w = 1 means off, and then costs one evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from noisespace.core.backbone import Backbone, Denoiser, Mixing, affine
from noisespace.core.batching import with_batching
from noisespace.core.condition import GUIDANCE, Condition
from noisespace.core.controls import HookContext
from noisespace.core.grid import Level, broadcast
from noisespace.core.prediction import Prediction
from noisespace.errors import InputError
from noisespace.system.fields import Share


@dataclass(frozen=True)
class Guidance:
    """How the predictions under the text and under the null text are mixed.

    ``rule``: "cfg", the model's own mixing, or "proximal" (arXiv 2306.05414), which keeps of
    (text - null) only what exceeds its ``quantile``, and then mixes. ``mode``: "hard" as the
    authors' code has it: entries are shrunk by the threshold, which is the quantile over the
    source's row too, whose difference is 0 everywhere; "l0" and "soft" are the proximal operators
    that the paper writes, by the quantile of the row alone: of the L0 norm, which keeps what
    exceeds it as it is, and of the L1 norm, which shrinks.

    Below timestep ``below``, "proximal" also pulls the predicted x0 of the unedited entries (what
    is left of theirs is under the threshold, also one latent pixel around) to the source's, by
    ``pull``.
    """

    rule: Literal["cfg", "proximal"] = "cfg"
    quantile: Share = 0.7
    mode: Literal["hard", "l0", "soft"] = "hard"
    pull: Share = 0.0
    below: int = 400

    def pull_to(self, x0: Tensor, delta: Tensor, anchor: Tensor, level: Level) -> Tensor:
        """x0 moved towards ``anchor`` where the edit leaves no trace in ``delta``."""
        if self.rule != "proximal" or self.pull == 0:
            return x0
        cut = self.threshold(delta)
        left = proximal(delta, cut, "hard") if self.mode == "hard" else delta
        edited = (left.abs() > cut).to(x0)
        kept = 1 - torch.nn.functional.max_pool2d(edited, 3, stride=1, padding=1)
        late = broadcast((level.t < self.below).double(), x0)
        return x0 - late * self.pull * kept * (x0 - anchor)

    def nearest(self, null: Tensor, text: Tensor) -> Tensor:
        """What is left of the text's view, of x0 or of eps, where it hardly differs from null's."""
        delta = text - null
        return null + proximal(delta, self.threshold(delta), self.mode)

    def threshold(self, delta: Tensor) -> Tensor:
        """What counts as an edit in each row of a difference, (rows, 1, 1, 1)."""
        source = torch.zeros_like(delta)  # under its own prompt as null text
        return edited_threshold(
            torch.cat([source, delta], 1) if self.mode == "hard" else delta, self.quantile
        )


def proximal(delta: Tensor, cut: Tensor, mode: str) -> Tensor:
    """The proximal operator of the L0 ("l0") or L1 norm, by a threshold (rows, 1, 1, 1)."""
    if mode == "l0":
        return torch.where(delta.abs() > cut, delta, 0.0)
    return delta.sign() * (delta.abs() - cut).clamp(min=0)


def edited_threshold(delta: Tensor, quantile: float) -> Tensor:
    """Each row's ``quantile`` of |delta|, (rows, 1, 1, 1)."""
    # numpy's and torch's quantile agree; kthvalue has no limit of 2^24 entries
    flat = delta.abs().flatten(1)
    k = max(1, round(quantile * (flat.shape[1] - 1)) + 1)
    return broadcast(flat.kthvalue(k, dim=1).values, delta)


def with_guidance(
    denoise: Denoiser,
    null: Condition,
    w: Tensor,
    guidance: Guidance | None = None,
    anchor: Tensor | None = None,
    mixing: Mixing = affine,
) -> Denoiser:
    """A denoiser under the prompt's guidance: one weight a row, ``w`` (rows,), and one null text.

    Rows with w = 1 are evaluated once, the others twice; all evaluations of a call go through the
    network as one batch, the text's rows first. Under ``hooks`` every row is evaluated twice. A
    network whose condition has a "guidance" is told w, and evaluated once.
    ``anchor`` (rows, c, h, w) is the source's x0, which proximal guidance pulls to; ``mixing`` the
    model's own.
    """
    guidance = guidance or Guidance()
    guided_rows = torch.nonzero(w != 1)[:, 0]

    def denoise_guided(
        x: Tensor, level: Level, condition: Condition, hooks: HookContext | None = None
    ) -> Prediction:
        if len(w) != len(x):
            raise InputError(f"guidance needs one weight a row, got {len(w)} for {len(x)} rows")
        if GUIDANCE in condition.tensors:
            told = w.to(condition.tensors[GUIDANCE])
            return denoise(x, level, condition.with_tensor(GUIDANCE, told), hooks)
        if len(guided_rows) == 0:
            return denoise(x, level, condition, hooks)
        rows = guided_rows.to(x.device)
        # Controls see a whole batch, (guide, image, row): then no null row is left out.
        twice = guided_rows if hooks is None else torch.arange(len(x))
        both = denoise(
            torch.cat([x, x[twice.to(x.device)]]),
            level.cat(level.rows(twice)),
            condition.cat(null.rows(twice)),
            hooks,
        )
        weight = broadcast(w[guided_rows], x)
        out = both.rows(slice(0, len(x)))
        nulls, texts = both.rows(slice(len(x), None)), out.rows(rows)
        if hooks is not None:
            nulls = nulls.rows(rows)
        left = texts if guidance.rule == "cfg" else nulls.map(texts, guidance.nearest)
        mixed = mixing(nulls, left, weight, x[rows], level.rows(guided_rows))
        x0 = mixed.x0
        if anchor is not None:
            x0 = guidance.pull_to(x0, texts.eps - nulls.eps, anchor[rows], level.rows(guided_rows))
        return Prediction(out.x0.index_copy(0, rows, x0), out.eps.index_copy(0, rows, mixed.eps))

    return denoise_guided


def under_guidance(
    model: Backbone, null: Condition, w: float, rule: Guidance | None = None
) -> Denoiser:
    """A model under one weight in all rows of ``null``, in batches that fit, and its own guidance.

    What the model adds comes after the prompt's guidance, once.
    """
    weights = torch.full((len(null),), w, dtype=torch.float64)
    denoise = with_batching(model.denoise)
    return model.guide(with_guidance(denoise, null, weights, rule, mixing=model.mixing))
