"""What an editor does to one replay, and where: inside the network, or around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from noisespace.core.condition import Condition
from noisespace.core.grid import Level
from noisespace.core.prediction import Prediction

if TYPE_CHECKING:
    from noisespace.core.backbone import Denoiser


@dataclass(frozen=True)
class Site:
    """A place in a network that a control can change.

    ``kind``: "self" or "cross" attention, or "feature", the residual branch of a decoder's ResNet
    block; ``index``: its number among those of its kind, in the order of evaluation, of ``count``;
    ``scale``: how many latent pixels one of its positions covers, along a side; ``text``: where in
    its sequence the text's tokens stand, if they do: "first" or "last" in a joint attention, whose
    image tokens' shares of themselves and of the text are two sites of one name.
    """

    name: str
    kind: Literal["self", "cross", "feature"]
    place: Literal["down", "mid", "up", "block"]
    index: int
    count: int
    scale: int
    text: Literal["apart", "first", "last"] = "apart"

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
    targets: Condition | None = None
    guide: Callable[[int, Tensor, Level, Prediction], Prediction] | None = None
    around: Callable[[int, Denoiser], Denoiser] | None = None
    mask: Tensor | None = None

    @property
    def inside(self) -> bool:
        """Whether anything inside the network is changed."""
        return bool(self.qkv or self.probs or self.feature)


@dataclass(frozen=True)
class HookContext:
    """One network call's share of some controls: the step, and how its batch folds."""

    controls: Controls
    step: int
    images: int
    rows: int

    def fold(self, x: Tensor) -> Tensor:
        """(guide * image * row, ...) as (guide, image, row, ...)."""
        return x.unflatten(0, (-1, self.images, self.rows))
