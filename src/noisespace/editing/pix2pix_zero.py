"""pix2pix-zero: move the state so that the target's cross-attention stays the source's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Interval
from torch import Tensor

from noisespace.core.condition import Condition
from noisespace.core.controls import Controls, HookContext, Site
from noisespace.editing.context import EditContext
from noisespace.errors import InputError
from noisespace.system.fields import Slider


@dataclass(frozen=True)
class Pix2PixZero:
    """pix2pix-zero (arXiv 2302.03027): cross-attention guidance.

    Before each step the targets' states take a gradient step of size ``amount`` on the squared
    distance of their cross-attention maps to the source's. The edit's direction is the difference
    of the two prompts, or, where sentences are given, of the mean embeddings of two lists: it is
    added to the source's embedding. Costs one more evaluation with gradient a step.

    ``source_sentences``: sentences about the source, joined by | on the command line; with target
    sentences they give the direction of the edit; ``target_sentences``: sentences about the target.

    ``maps``: whose maps are compared, those under the "null" text, as by the authors, or under the
    "text". Their code averages over both but goes on from the null text's copy of the state, which
    the text's maps do not move: "null" is that, at half the weight.
    """

    amount: Annotated[float, Interval(ge=0), Slider(0, 1, 0.01)] = 0.1
    source_sentences: Sequence[str] = ()
    target_sentences: Sequence[str] = ()
    maps: Literal["null", "text"] = "null"

    def controls(self, context: EditContext) -> Controls:
        context.find("cross", "pix2pix-zero")
        targets, rows = self.target_conditions(context), context.each
        read, weight = (context.source, targets), 1.0
        if self.maps == "null":
            if not context.model.has_null or not bool(context.null.embedding.any()):
                raise InputError(
                    "the null text of this model is zeros, or there is none: its attention says "
                    'nothing of the picture; use pix2pix-zero with maps="text"'
                )
            read = context.null, context.null.rows([i for i, _ in context.pairs()])
            weight = 0.5  # of the mean over both guides
        grid, first = context.code.grid, context.code.first

        def maps(k: int, x: Tensor, text: Condition, each: int) -> list[Tensor]:
            """The maps of every cross-attention, (image, row, head, query, token)."""
            seen: list[Tensor] = []

            def probs(step: int, site: Site, p: Tensor) -> Tensor:
                seen.append(p[0])
                return p

            reader = Controls(probs=probs, reads=lambda step, site: site.kind == "cross")
            level = grid.level(torch.full((len(x),), first + k))
            context.model.denoise(x, level, text, HookContext(reader, k, context.images, each))
            return seen

        def before(k: int, x: Tensor) -> Tensor:
            with torch.no_grad():
                wanted = maps(k, x[:, 0], read[0], 1)
            with torch.enable_grad():
                moved = x[:, 1:].flatten(0, 1).detach().requires_grad_()
                now = maps(k, moved, read[1], rows)
                loss = sum(
                    ((a - b) ** 2).sum((-2, -1)).mean(-1).sum()
                    for a, b in zip(now, wanted, strict=True)
                )
                (gradient,) = torch.autograd.grad(weight * loss, moved)  # type: ignore[arg-type]
            new = (moved - self.amount * gradient).detach().unflatten(0, (-1, rows))
            return torch.cat([x[:, :1], new], 1)

        return Controls(before=before if self.amount else None, targets=targets)

    @property
    def sentences(self) -> tuple[Sequence[str], Sequence[str]]:
        return self.source_sentences, self.target_sentences

    def target_conditions(self, context: EditContext) -> Condition:
        """The targets under source + direction; the target prompts themselves without lists."""
        if not self.source_sentences and not self.target_sentences:
            return context.targets
        if not self.source_sentences or not self.target_sentences:
            raise InputError("give both source_sentences and target_sentences, or neither")
        ends = [[s] if isinstance(s, str) else s for s in self.sentences]
        a, b = (context.model.embed(list(s)).embedding.mean(0, keepdim=True) for s in ends)
        own = context.source.rows([i for i, _ in context.pairs()])
        return context.targets.with_text(own.embedding + b - a)
