"""Shift: translate the noise maps, and the picture follows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from torch import Tensor

from noisespace.core.code import Code
from noisespace.core.grid import broadcast
from noisespace.core.streams import stream
from noisespace.editing.operations.noise_maps import note_operation, require_frozen
from noisespace.errors import InputError
from noisespace.models.base import Model
from noisespace.system.fields import Seed, Slider, check_fields

Fill = Literal["wrap", "fresh"]
Pixels = Annotated[int, Slider(-512, 512, 1)]


@dataclass(frozen=True)
class Shift:
    """Translates the image by ``dx`` right and ``dy`` down, in pixels of the picture.

    The start and every noise map are translated by as many whole latent positions as come nearest.
    ``fill``: what comes in at the border, the other side ("wrap") or "fresh" noise of ``seed``.
    """

    dx: Pixels = 0
    dy: Pixels = 0
    fill: Fill = "wrap"
    seed: Seed = 0

    def __call__(self, model: Model, code: Code) -> Code:
        code = require_frozen(code, "Shift")
        check_fields(self)
        if not self.dx and not self.dy:
            raise InputError("a shift by nothing does nothing: give dx or dy, in pixels")
        down, right = (positions(model, code, v, axis) for axis, v in ((0, self.dy), (1, self.dx)))

        def moved(x: Tensor) -> Tensor:
            return x.roll((down, right), (-2, -1))

        path = moved(code.path)
        residual = None if code.residual is None else moved(code.residual)
        if self.fill == "fresh":
            path, residual = self.fill_with_noise(code, path, residual, (down, right))
        return note_operation(replace(code, path=path, residual=residual), self)

    def fill_with_noise(
        self, code: Code, path: Tensor, residual: Tensor | None, by: tuple[int, int]
    ) -> tuple[Tensor, Tensor | None]:
        """Puts native noise where the border came in."""
        height, width = path.shape[-2:]
        strip = torch.zeros(height, width, dtype=torch.bool, device=path.device)
        for axis, amount in enumerate(by):
            inside = slice(0, amount) if amount > 0 else slice(amount, None)
            if amount:
                strip[(inside, slice(None)) if axis == 0 else (slice(None), inside)] = True
        generators = [stream(self.seed, "shift") for _ in range(path.shape[1])]

        def fresh(like: Tensor) -> Tensor:
            """Each image's own, so that it does not depend on the batch; (..., b, c, h, w)."""
            shape = (*like.shape[:-4], *like.shape[-3:])
            drawn = [torch.randn(shape, generator=g, dtype=like.dtype) for g in generators]
            return torch.stack(drawn, -4).to(like.device)

        start = code.grid.sigma[code.first].to(path) * fresh(path[0])
        path = torch.cat([torch.where(strip, start, path[0])[None], path[1:]])
        if residual is not None:
            std = broadcast(code.deviations(), residual)
            residual = torch.where(strip, std * fresh(residual), residual)
        return path, residual


def positions(model: Model, code: Code, pixels: int, axis: int) -> int:
    """Pixels of the picture as whole latent positions along an axis (0 down, 1 right)."""
    side = code.path.shape[-2 + axis]
    own = code.info.fit[0]["original"][axis] if code.info.fit else side * model.factor
    exact = pixels * side / own
    if pixels and not round(exact):
        raise InputError(
            f"a shift of {pixels} pixels is less than half a latent position "
            f"({own / side:g} pixels): it would do nothing"
        )
    return round(exact)
