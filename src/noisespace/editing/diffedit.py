"""DiffEdit: the two prompts' predictions differ where the edit belongs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor

from noisespace.core.batching import batch_rows, in_batches
from noisespace.core.controls import Controls
from noisespace.core.streams import stream
from noisespace.editing.context import EditContext
from noisespace.editing.masks import keep_outside
from noisespace.errors import InputError
from noisespace.system.fields import Seed, Slider, Threshold


@dataclass(frozen=True)
class DiffEdit:
    """DiffEdit (arXiv 2210.11427): an automatic mask, outside which the source stays.

    The image is noised several times; where the predictions under the two prompts differ most the
    edit may act. As ``editor=`` it edits inside its mask; as ``mask=`` it lends the mask to any
    other editor. The paper edits from 80 % of the steps on, which is the inversion's choice here:
    ``DDIM(stop=.8)``.

    ``maps``: noisings of the image; ``strength``: the share of the steps that they go up;
    ``ratio``: differences are clipped at so many times their mean; ``threshold``: the share of the
    clipped maximum from which on the edit may act; ``seed``: of the noisings.
    """

    maps: Annotated[int, Interval(ge=1)] = 10
    strength: Annotated[float, Interval(gt=0, lt=1), "a share of the steps in (0, 1)"] = 0.5
    ratio: Annotated[float, Interval(gt=0), Slider(0.5, 10, 0.1)] = 3.0
    threshold: Threshold = 0.5
    seed: Seed = 0

    def controls(self, context: EditContext) -> Controls:
        return keep_outside(None, self.mask(context))

    def check(self, context: EditContext) -> None:
        """InputError where the prompts do not differ."""
        for i, j in context.pairs():
            # by tokens: a tokenizer may not tell upper from lower case
            if context.source.tokens[i] == context.targets.tokens[j]:
                raise InputError(
                    f"DiffEdit compares two prompts, but both are {context.source.prompts[i]!r}: "
                    "give a target that differs from the source"
                )

    @torch.no_grad()
    def mask(self, context: EditContext) -> Tensor:
        """(image, target, 1, h, w) of 0 and 1. Raises InputError as ``check`` does."""
        self.check(context)
        difference = self.difference(context)
        inside = self.inside(difference)
        if not bool(inside.flatten(2).any(-1).all()):
            raise InputError("DiffEdit found no place where the two prompts differ: paint a mask")
        return inside.to(difference)[:, :, None]

    def inside(self, difference: Tensor) -> Tensor:
        """Where a difference (image, target, h, w) is above the threshold, bool of its shape."""
        clipped = difference.clamp(max=self.ratio * difference.mean((-2, -1), keepdim=True))
        return clipped > self.threshold * clipped.amax((-2, -1), keepdim=True)

    def difference(self, context: EditContext) -> Tensor:
        """The mean |difference| of the two predictions over noisings and channels.

        (image, target, h, w). Guidance would only scale it.
        """
        code, pairs = context.code, context.pairs()
        x0, grid = code.path[-1], code.grid
        index = round((1 - self.strength) * len(grid))
        alpha, sigma = grid.level(index).amplitudes(x0)
        shape = (self.maps, *x0.shape[1:])
        # the same noisings for every image: a mask does not depend on the batch it is made in
        noise = torch.randn(shape, generator=stream(self.seed, "diffedit"), dtype=x0.dtype).to(
            x0.device
        )
        sums = x0.new_zeros(len(pairs), *x0.shape[2:])
        source = context.source.rows([i for i, _ in pairs])

        def compare(rows: Tensor) -> None:
            pair, drawn = rows // self.maps, rows % self.maps
            image = torch.tensor([i for i, _ in pairs])[pair]
            x = alpha * x0[image] + sigma * noise[drawn]
            at = grid.level(torch.full((2 * len(rows),), index))
            both = context.model.denoise(
                torch.cat([x, x]), at, source.rows(pair).cat(context.targets.rows(pair))
            ).eps
            apart = (both[: len(rows)] - both[len(rows) :]).abs().mean(1)
            sums.index_add_(0, pair.to(sums.device), apart)

        in_batches(compare, len(pairs) * self.maps, batch_rows(x0, 2))
        return (sums / self.maps).unflatten(0, (context.images, context.each))
