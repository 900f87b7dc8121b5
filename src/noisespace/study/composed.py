"""A model under several concepts at once, as a model: what inversions may not care about."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from noisespace.core.backbone import Denoiser
from noisespace.core.condition import Condition
from noisespace.core.controls import HookContext
from noisespace.core.grid import Level
from noisespace.core.prediction import Prediction
from noisespace.models.base import ModelWrapper


@dataclass(frozen=True)
class Composed(ModelWrapper):
    """Every prediction moved by ``scale (eps(concept) - eps(null))``, summed over the concepts.

    Composable guidance (arXiv 2206.01714, eq. 11) on all rows, the source's too; the editor
    ``Concepts`` moves target rows alone.
    """

    concepts: tuple[str, ...]
    scale: float

    def guide(self, guided: Denoiser) -> Denoiser:
        def composed(
            x: Tensor, level: Level, condition: Condition, hooks: HookContext | None = None
        ) -> Prediction:
            found = guided(x, level, condition, hooks)
            if not bool((level.alpha > 0).all()):
                return found  # without signal, noise does not move x0
            null = self.model.embed([None]).rows([0] * len(x))
            away, moved = self.model.denoise(x, level, null).eps, torch.zeros_like(x)
            for concept in self.concepts:
                towards = self.model.embed([concept]).rows([0] * len(x))
                moved += self.scale * (self.model.denoise(x, level, towards).eps - away)
            return found.plus_eps(moved, level)

        return self.model.guide(composed)
