"""A model under several concepts at once, as a model: what inversions may not care about."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from noisespace.denoiser import Text, Touch
from noisespace.models.base import Around
from noisespace.prediction import Prediction
from noisespace.schedule import Level


@dataclass(frozen=True)
class Composed(Around):
    """Every prediction moved by ``scale (eps(concept) - eps(null))``, summed over the concepts.

    Composable guidance (arXiv 2206.01714, eq. 11) on all rows, the source's too; the editor
    ``Concepts`` moves target rows alone.
    """

    concepts: tuple[str, ...]
    scale: float

    def denoise(
        self, x: Tensor, level: Level, text: Text, touch: Touch | None = None
    ) -> Prediction:
        found = self.model.denoise(x, level, text, touch)
        if not bool((level.alpha > 0).all()):
            return found  # without signal, noise does not move x0
        null = self.model.embed([""]).rows([0] * len(x))
        eps, away = found.eps, self.model.denoise(x, level, null).eps
        for concept in self.concepts:
            towards = self.model.embed([concept]).rows([0] * len(x))
            eps = eps + self.scale * (self.model.denoise(x, level, towards).eps - away)
        return Prediction.from_eps(eps, x, level)
