"""A model under guidance by gradients: everything that takes a model takes this one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from noisespace.core.backbone import Denoiser
from noisespace.core.gradient_guidance import Score, check_scale, try_score, with_score
from noisespace.models.base import Model, ModelWrapper
from noisespace.pictures.describe import describe


@dataclass(frozen=True)
class Guided(ModelWrapper):
    """A model whose guided predictions are moved up a score (``core.gradient_guidance``).

    Sampling, inverting and editing under classifier guidance, also with unconditional models in
    pixel space: ``ns.Guided(model, score, scale=2.0)``. The model itself is left alone. Its codes
    belong to this score and scale.
    """

    model: Model
    score: Score
    scale: float = 1.0
    through: bool = True

    def __post_init__(self) -> None:
        check_scale("scale", self.scale)
        side = max(self.model.resolution, 1)
        try_score(self.score, "", (side, side))

    @property
    def fingerprint(self) -> str:
        """Of the model, the score's name and the settings."""
        parts = (self.model.fingerprint, describe(self.score), self.scale, self.through)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def guide(self, guided: Denoiser) -> Denoiser:
        parts = (self.model.guide(guided), self.score, self.model.decode, self.scale)
        return with_score(*parts, through=self.through)
