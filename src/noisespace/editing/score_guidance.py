"""Edits guided by the gradient of a score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, cast

import torch
from annotated_types import Interval
from torch import Tensor

from noisespace.core.backbone import Denoiser
from noisespace.core.controls import Controls
from noisespace.core.gradient_guidance import Score, try_score, with_score
from noisespace.editing.context import EditContext, Window, executed_steps
from noisespace.errors import InputError
from noisespace.models.judges.alignment import Alignment, alignment_of
from noisespace.system.fields import Slider


@dataclass(frozen=True)
class ScoreGuidance:
    """Moves the targets up a differentiable score of their predicted clean pictures.

    ``score(pixels, prompts)``: pixels (rows, 3, H, W) in about [-1, 1] and the targets' prompts to
    (rows,), higher is better: log-probabilities of a classifier (arXiv 2105.05233), or minus any
    loss. "alignment", the default, is the log-probability of the target's prompt against the
    source's, by the alignment model that the model brings; ``ns.Alignment`` objects, and the
    folder or Hub id of a CLIP, serve as well.

    With ``content`` the score loses that many times the mean squared difference between the
    self-similarity maps of the picture and of the source, so that the layout stays (arXiv
    2209.15264 with the alignment model at hand in place of DINO). ``window``: the share of the
    executed steps, or (start, end), that is guided; ``scale``: how strongly the score moves the
    picture; ``through``: as in ``core.gradient_guidance.with_score``. The source row is left alone.
    """

    score: Any = "alignment"
    scale: Annotated[float, Interval(gt=-1e9, lt=1e9), "a finite number", Slider(0, 50, 0.5)] = 1.0
    window: Window = 1.0
    through: bool = True
    content: Annotated[float, Interval(gt=-1e9, lt=1e9), "a finite number", Slider(0, 100, 1)] = 0.0

    def controls(self, context: EditContext) -> Controls:
        steps = executed_steps(self.window, context.total, "window")
        fits = context.code.info.fit
        size = fits[0]["size"] if fits else context.latent
        score = self.full(context)
        try_score(score, context.targets.prompts[0], size)
        rows = 1 + context.each
        chosen = torch.tensor([i for i in range(context.images * rows) if i % rows])

        def around(step: int, denoise: Denoiser) -> Denoiser:
            if step not in steps or self.scale == 0:
                return denoise
            parts = (denoise, score, context.model.decode, self.scale)
            return with_score(*parts, chosen=chosen, through=self.through)

        return Controls(around=around)

    def full(self, context: EditContext) -> Score:
        """The score with all that it is told of the source: prompts, and content."""
        score = self.score
        if isinstance(score, str):
            score = alignment_of(score, context.model)
        elif not callable(score):
            raise InputError(f"score must be a function of (pixels, prompts), got {score!r}")
        own = isinstance(score, Alignment)
        plain: Score = against(score, context) if own else cast(Score, score)
        if self.content == 0:
            return plain
        if not own:
            raise InputError("content needs an alignment model: score=alignment, or a CLIP")
        with torch.no_grad():
            layout = score.structure(context.model.decode(context.code.path[-1]))

        def both(pixels: Tensor, prompts: Sequence[str]) -> Tensor:
            wanted = layout.repeat_interleave(context.each, 0)[: len(pixels)]
            away = (score.structure(pixels) - wanted).square().mean((1, 2))
            return plain(pixels, prompts) - self.content * away

        return both


def against(score: Alignment, context: EditContext) -> Callable[[Tensor, Sequence[str]], Tensor]:
    """log p(target's prompt | picture) against the source's prompt, which each row has its own."""
    sources = tuple(context.source.prompts[i] for i, _ in context.pairs())

    @lru_cache(maxsize=4)  # targets and sources: of the trial before the run, and of every step
    def embedded(prompts: tuple[str, ...]) -> Tensor:
        return score.prompts(prompts)

    def odds(pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        return score.odds(pixels, embedded(tuple(prompts)), embedded(sources[: len(prompts)]))

    return odds
