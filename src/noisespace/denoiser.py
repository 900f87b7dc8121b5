"""The boundary between the loop and a network: ``(x, level, text, controls) -> Prediction``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from noisespace.prediction import Prediction
from noisespace.schedule import Level


@dataclass(frozen=True)
class Text:
    """Embedded prompts: ``embedding`` (rows, l, d) and what they were made from.

    ``tokens``: the token strings of each row, special ones included; ``cut``: what the tokenizer
    had no room for, "" where nothing was cut.
    """

    embedding: Tensor
    prompts: tuple[str, ...]
    tokens: tuple[tuple[str, ...], ...] = ()
    cut: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.prompts)

    def rows(self, chosen: Sequence[int] | Tensor) -> Text:
        """Some rows, repeated or reordered."""
        index = [int(i) for i in chosen]

        def pick(values: tuple) -> tuple:
            return tuple(values[i] for i in index) if values else ()

        return Text(self.embedding[index], pick(self.prompts), pick(self.tokens), pick(self.cut))

    def cat(self, other: Text) -> Text:
        """Two batches of prompts, one after the other."""
        return Text(
            torch.cat([self.embedding, other.embedding]),
            self.prompts + other.prompts,
            self.tokens + other.tokens,
            self.cut + other.cut,
        )

    def embedded(self, embedding: Tensor) -> Text:
        """The same prompts under another embedding (optimised ones, one a step)."""
        return Text(embedding, self.prompts, self.tokens, self.cut)


@dataclass(frozen=True)
class Site:
    """A place in a network that a control can touch.

    ``kind``: "self" or "cross" attention, or "feature", the residual branch of a decoder's ResNet
    block; ``index``: its number among those of its kind, in the order of evaluation, of ``count``;
    ``scale``: how many latent pixels one of its positions covers, along a side.
    """

    name: str
    kind: Literal["self", "cross", "feature"]
    place: Literal["down", "mid", "up"]
    index: int
    count: int
    scale: int

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Its map's size for latents of that size: each halving rounds up."""
        return -(-height // self.scale), -(-width // self.scale)


@dataclass(frozen=True)
class Controls:
    """What an editor does to one replay; told the step and the site, never stored on the model.

    ``before(step, x)`` and ``after(step, x)`` map the states (images, rows, c, h, w), row 0 the
    source, before the network sees them and after a step. Inside the network, with every batch
    folded to (guide, image, row, ...), guide 0 the text and guide 1 the null text:

    ``qkv(step, site, q, k, v)``: those of an attention, (..., head, token, dim);
    ``probs(step, site, p)``: its probabilities (..., head, token, token). They are computed, and
    the fused kernel given up, only where ``reads(step, site)``;
    ``feature(step, site, h)``: the residual branch of a decoder block (..., c, h, w).

    ``guide(step, x, level, prediction)``: guidance beyond the prompt's, on all rows
    (images * rows, c, h, w); ``around(step, denoise)``: a denoiser around the guided one, for
    guidance by gradients. ``source`` asks for the source row; ``targets`` replaces the targets'
    embedded prompts; ``mask`` (image or 1, target or 1, 1, H, W): the weights that a blending
    uses, at any size.
    """

    before: Callable[[int, Tensor], Tensor] | None = None
    after: Callable[[int, Tensor], Tensor] | None = None
    source: bool = True
    qkv: Callable[[int, Site, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]] | None = None
    probs: Callable[[int, Site, Tensor], Tensor] | None = None
    reads: Callable[[int, Site], bool] = lambda step, site: True
    feature: Callable[[int, Site, Tensor], Tensor] | None = None
    targets: Text | None = None
    guide: Callable[[int, Tensor, Level, Prediction], Prediction] | None = None
    around: Callable[[int, Denoiser], Denoiser] | None = None
    mask: Tensor | None = None

    @property
    def inside(self) -> bool:
        """Whether anything inside the network is touched."""
        return bool(self.qkv or self.probs or self.feature)


@dataclass(frozen=True)
class Touch:
    """One network call's share of some controls: the step, and how its batch folds."""

    controls: Controls
    step: int
    images: int
    rows: int

    def fold(self, x: Tensor) -> Tensor:
        """(guide * image * row, ...) as (guide, image, row, ...)."""
        return x.unflatten(0, (-1, self.images, self.rows))


class Denoiser(Protocol):
    """A network with everything that is its own business (parameterisation, dtype) behind it."""

    def __call__(
        self, x: Tensor, level: Level, text: Text, touch: Touch | None = None
    ) -> Prediction: ...
