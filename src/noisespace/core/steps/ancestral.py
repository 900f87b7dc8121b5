"""DDIM, DDPM and what is between them, with or without the source's corrections."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from noisespace.core.grid import broadcast
from noisespace.core.lattice import snap
from noisespace.core.rows import Rows
from noisespace.core.steps.step import Correct, Noise, Predict, State, first_state
from noisespace.core.transition import posterior
from noisespace.errors import InputError
from noisespace.system.fields import Share

if TYPE_CHECKING:
    from noisespace.core.code import Code


@dataclass(frozen=True)
class Ancestral:
    """x = mean + residual, or mean + std z (arXiv 2010.02502, eq. 12; corrected, 2304.06140).

    ``eta``: 0 is DDIM, 1 DDPM; ``correct``: the rows that get the code's residual in the place of
    fresh noise, all of them or the source alone.
    """

    eta: Share = 0.0
    correct: Correct = "none"

    keeps: ClassVar[tuple[str, ...]] = ()

    def start(self, code: Code, rows: Rows) -> State:
        if code.live and not rows.source:
            raise InputError("a live code needs its source row: replay it with one, or freeze it")
        return first_state(code, rows)

    def step(self, k: int, state: State, predict: Predict, noise: Noise | None) -> State:
        code, rows, i = state.code, state.rows, state.code.first + k
        prediction = predict(state.x, i)
        mean, std = posterior(prediction, code.grid.level(i), code.grid.level(i + 1), self.eta)
        x = add_correction(state, k, rows.fold(mean))
        if noise is not None and std > 0 and not rows.all_corrected(self.correct):
            fresh = x + broadcast(std, x) * rows.fold(noise(k))
            source = self.correct == "source" and rows.source  # which is corrected already
            x = torch.cat([x[:, :1], fresh[:, 1:]], 1) if source else fresh
        return replace(state, x=x.flatten(0, 1), x0=prediction.x0)


def add_correction(state: State, k: int, mean: Tensor) -> Tensor:
    """Adds step k's residual to the rows that the code corrects; mean (images, rows, c, h, w).

    Corrected states are brought back to the code's lattice, but for those of the last step. A live
    code has no residual: the source row's own mean gives it on the spot, and the source row is
    *assigned* its path, since mean + (path - mean) would round.
    """
    code, rows = state.code, state.rows
    if code.correct == "none":
        return mean
    after = code.path[k + 1][:, None]
    residual = after - mean[:, :1] if code.residual is None else code.residual[k][:, None]
    source = code.correct == "source"
    if source and not rows.source:
        return mean
    x = (mean[:, :1] if source else mean) + residual
    if code.residual is None:
        x = torch.cat([after, x[:, 1:]], 1)
    elif code.lattice and k + 1 < len(code.residual):
        x = snap(x, code.lattice)
        check_lattice(state, k, x[:, :1], after)
    return torch.cat([x, mean[:, 1:]], 1) if source else x


def check_lattice(state: State, k: int, x: Tensor, after: Tensor) -> None:
    """Warns where the source's row, under its own condition, leaves the path of its code."""
    code, rows = state.code, state.rows
    own = rows.source and not code.info.operations
    if own and bool((rows.guidance[:: rows.each] == code.guidance).all()):
        before = rows.fold(state.x)[:, :1]
        if torch.equal(before, code.path[k][:, None]) and not torch.equal(x, after):
            warnings.warn(
                f"the source left its path at step {k + 1}: its means differ from those of the "
                f"inversion by more than half the code's lattice of {code.lattice:g}, so that the "
                "reconstruction is not exact; replay with the dtype and device of the inversion, "
                "without cached features, or invert again",
                stacklevel=2,
            )
