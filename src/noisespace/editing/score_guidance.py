"""Edits guided by the gradient of a score."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from noisespace.denoiser import Controls, Denoiser
from noisespace.editing.base import Brief, executed
from noisespace.energy import Score, guided_by, try_score
from noisespace.errors import InputError


@dataclass(frozen=True)
class ScoreGuidance:
    """Moves the targets up a differentiable score of their predicted clean pictures.

    ``score(pixels, prompts)``: pixels (rows, 3, H, W) in about [-1, 1] and the targets' prompts to
    (rows,), higher is better: log-probabilities of a classifier (arXiv 2105.05233), the similarity
    of an image and a text model, minus any loss to a reference (arXiv 2209.15264). ``window``: the
    share of the executed steps, or (start, end), that is guided; ``through``: as in
    ``noisespace.energy.guided_by``. The source row is left alone.
    """

    score: Score
    scale: float = 1.0
    window: float | tuple[float, float] = 1.0
    through: bool = True

    def controls(self, brief: Brief) -> Controls:
        if isinstance(self.scale, bool) or not isinstance(self.scale, (int, float)):
            raise InputError(f"scale must be a number, got {self.scale!r}")
        steps = executed(self.window, brief.total, "window")
        fits = brief.code.info.fit
        try_score(self.score, brief.targets.prompts[0], fits[0]["size"] if fits else brief.latent)
        rows = 1 + brief.each
        chosen = torch.tensor([i for i in range(brief.images * rows) if i % rows])

        def around(step: int, denoise: Denoiser) -> Denoiser:
            if step not in steps or self.scale == 0:
                return denoise
            parts = (denoise, self.score, brief.decode, self.scale)
            return guided_by(*parts, chosen=chosen, through=self.through)

        return Controls(around=around)
