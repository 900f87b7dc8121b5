"""Operations on a code: its noise maps carry the image, so editing them edits it.

arXiv 2304.06140, sec. 3.2. All act on the residuals (std * noise map), right on every step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageColor
from torch import Tensor

from noisespace import images
from noisespace.code import Code
from noisespace.describe import describe
from noisespace.editing.base import executed
from noisespace.editing.masks import as_grey
from noisespace.errors import InputError
from noisespace.guidance import guided
from noisespace.inversion.parallel import batch_rows, in_batches
from noisespace.models.base import Model
from noisespace.step import posterior_std

Fill = Literal["wrap", "fresh"]


@dataclass(frozen=True)
class Shift:
    """Translates the image by ``dx`` right and ``dy`` down, in pixels of the picture.

    The start and every noise map are translated by as many whole latent positions as come nearest.
    ``fill``: what comes in at the border, the other side ("wrap") or "fresh" noise of ``seed``.
    """

    dx: int = 0
    dy: int = 0
    fill: Fill = "wrap"
    seed: int = 0

    def __call__(self, model: Model, code: Code) -> Code:
        code = frozen(code, "Shift")
        if self.fill not in ("wrap", "fresh"):
            raise InputError(f'fill must be "wrap" or "fresh", got {self.fill!r}')
        down, right = (positions(model, code, v, axis) for axis, v in ((0, self.dy), (1, self.dx)))

        def moved(x: Tensor) -> Tensor:
            return x.roll((down, right), (-2, -1))

        path = moved(code.path)
        residual = None if code.residual is None else moved(code.residual)
        if self.fill == "fresh":
            path, residual = self.refreshed(code, path, residual, (down, right))
        return noted(replace(code, path=path, residual=residual), self)

    def refreshed(
        self, code: Code, path: Tensor, residual: Tensor | None, by: tuple[int, int]
    ) -> tuple[Tensor, Tensor | None]:
        """Puts native noise where the border came in."""
        height, width = path.shape[-2:]
        strip = torch.zeros(height, width, dtype=torch.bool, device=path.device)
        for axis, amount in enumerate(by):
            inside = slice(0, amount) if amount > 0 else slice(amount, None)
            if amount:
                strip[(inside, slice(None)) if axis == 0 else (slice(None), inside)] = True
        generator = torch.Generator().manual_seed(self.seed)

        def fresh(like: Tensor) -> Tensor:
            return torch.randn(like.shape, generator=generator, dtype=like.dtype).to(like.device)

        start = code.grid.sigma[code.first].to(path) * fresh(path[0])
        path = torch.cat([torch.where(strip, start, path[0])[None], path[1:]])
        if residual is not None:
            std = deviations(code).to(residual)
            residual = torch.where(strip, std * fresh(residual), residual)
        return path, residual


@dataclass(frozen=True)
class ColorEdit:
    """Paints colour into the noise maps: z_t += strength * B * (M - P(f_t(x_t))).

    arXiv 2304.06140, sec. 3.2. M is the image with ``strokes`` (an RGBA picture of its size, or
    with ``color`` inside ``mask``) painted over it, B where paint is, P the prediction along the
    code's path. ``window``: the share of the executed steps in which it acts. Texture stays, also
    under the paint, which SDEdit from the same strokes loses.
    """

    strokes: Any = None
    color: Any = None
    mask: Any = None
    strength: float = 0.05
    window: tuple[float, float] = (0.0, 0.8)

    def check(self, model: Model, code: Code) -> None:
        """InputError for fields that do not fit, before any network runs."""
        executed(self.window, len(code.path) - 1, "window")
        if not np.array(self.layer((8, 8)))[..., 3].any():
            raise InputError("nothing is painted: the strokes (or the mask) are empty")

    @torch.no_grad()
    def __call__(self, model: Model, code: Code) -> Code:
        code = frozen(code, "ColorEdit")
        if code.residual is None or code.eta == 0:
            raise InputError(
                "ColorEdit paints into noise maps, and this code has none: invert with "
                "edit-friendly or cycle-diffusion"
            )
        if code.path.shape[1] != 1:
            raise InputError(
                f"ColorEdit takes a code of one image, got one of {code.path.shape[1]}"
            )
        steps = executed(self.window, len(code.residual), "window")
        goal, inside = self.goal(model, code)
        residual = code.residual.clone()
        clean = predicted(model, code, steps)
        std = deviations(code).to(residual)[steps.start : steps.stop]
        added = std * self.strength * inside * (goal - clean)
        residual[steps.start : steps.stop] += added
        return noted(replace(code, residual=residual), self)

    def goal(self, model: Model, code: Code) -> tuple[Tensor, Tensor]:
        """M as latents (1, c, h, w), and B (1, 1, h, w) of 0 and 1."""
        h, w = code.path.shape[-2] * model.factor, code.path.shape[-1] * model.factor
        below = images.to_images(model.decode(code.path[-1]))[0]
        layer = self.layer((w, h))
        paint = np.array(layer)[..., 3]
        picture = np.array(Image.alpha_composite(Image.fromarray(below).convert("RGBA"), layer))
        goal = model.encode(images.to_tensor(picture[..., :3].copy()).to(model.state))
        latent = (code.path.shape[-1], code.path.shape[-2])
        small = layer.getchannel("A").resize(latent, Image.Resampling.BOX)
        inside = torch.from_numpy(np.array(small) > 127).to(goal)[None, None]
        if not paint.any() or not bool(inside.any()):
            raise InputError("nothing is painted: the strokes (or the mask) are empty")
        return goal, inside

    def layer(self, size: tuple[int, int]) -> Image.Image:
        """The paint as RGBA at the working size."""
        if (self.strokes is None) == (self.color is None):
            raise InputError("give either strokes (an RGBA picture) or color with a mask")
        if self.strokes is not None:
            layer = images.paint_layer(self.strokes)
            return layer.resize(size, Image.Resampling.LANCZOS)
        if self.mask is None:
            raise InputError("color needs a mask: white where it is to be painted")
        try:
            colour = ImageColor.getrgb(self.color) if isinstance(self.color, str) else self.color
            flat = Image.new("RGB", size, tuple(colour))
        except (ValueError, TypeError) as error:
            raise InputError(f"color {self.color!r} is none that can be read: {error}") from None
        flat.putalpha(Image.fromarray(as_grey(self.mask)).resize(size, Image.Resampling.BOX))
        return flat


@torch.no_grad()
def interpolate(model: Model, a: Code, b: Code, t: float) -> Code:
    """A code between two: 0 gives ``a``, 1 gives ``b``.

    Slerp of the starts; the noise maps are mixed with weights sqrt(1 - t) and sqrt(t), which keep
    their variance where the two are independent. The prompt stays that of ``a``.
    """
    a, b = frozen(a, "interpolate"), frozen(b, "interpolate")
    if isinstance(t, bool) or not isinstance(t, (int, float)) or not 0 <= t <= 1:
        raise InputError(f"t must be in [0, 1], got {t!r}")
    same = (
        a.info.fingerprint == b.info.fingerprint
        and a.path.shape == b.path.shape
        and a.eta == b.eta
        and (a.residual is None) == (b.residual is None)
        and torch.equal(a.grid.alpha, b.grid.alpha)
    )
    if not same:
        raise InputError(
            "the codes do not fit together: interpolate wants the same model, size, steps, skip "
            f"and eta, got {a.method} {tuple(a.path.shape)} and {b.method} {tuple(b.path.shape)}"
        )
    start = slerp(a.path[0], b.path[0], t)
    path = torch.cat([start[None], (1 - t) * a.path[1:] + t * b.path[1:]])
    residual = None
    if a.residual is not None and b.residual is not None:
        residual = (1 - t) ** 0.5 * a.residual + t**0.5 * b.residual
    code = noted(replace(a, path=path, residual=residual), f"interpolate(t={t})")
    return code.with_info(image=(), seeds=a.info.seeds)


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Spherical interpolation, each image by itself: (b, c, h, w)."""
    x, y = a.flatten(1), b.flatten(1)
    cosine = torch.cosine_similarity(x, y, dim=1).clamp(-1, 1)
    angle = cosine.acos()[:, None]
    flat = angle.abs() < 1e-6
    safe = torch.where(flat, torch.ones_like(angle), angle)
    mixed = (torch.sin((1 - t) * safe) * x + torch.sin(t * safe) * y) / torch.sin(safe)
    return torch.where(flat, (1 - t) * x + t * y, mixed).view_as(a)


def frozen(code: Code, what: str) -> Code:
    """Refuses a live code: its maps do not exist yet."""
    if not isinstance(code, Code):
        raise InputError(f"{what} takes a code, got {type(code).__name__}")
    if code.live:
        raise InputError(f"{what} needs noise maps: noisespace.freeze(model, code) computes them")
    return code


def noted(code: Code, what: object) -> Code:
    """The code with the operation written into its record."""
    return code.with_info(
        operations=(*code.info.operations, what if isinstance(what, str) else describe(what))
    )


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


def deviations(code: Code) -> Tensor:
    """std of every executed step, (steps, 1, 1, 1, 1)."""
    levels = [code.grid.level(code.first + k) for k in range(len(code.path))]
    pairs = pairwise(levels)
    return torch.stack([posterior_std(at, to, code.eta) for at, to in pairs]).view(-1, 1, 1, 1, 1)


def predicted(model: Model, code: Code, steps: range) -> Tensor:
    """P(f_t(x_t)) along the code's path for some executed steps, (steps, b, c, h, w)."""
    text = model.embed(code.info.prompts)
    null = model.embed(code.info.negative or ("",) * len(text))
    count = code.path.shape[1]
    states = code.path[steps.start : steps.stop].flatten(0, 1)
    out = torch.empty_like(states)

    def work(rows: Tensor) -> None:
        image, level = rows % count, code.first + steps.start + rows // count
        w = torch.full((len(rows),), code.guidance, dtype=torch.float64)
        predict = guided(model.denoise, null.rows(image), w, code.rule)
        out[rows] = predict(states[rows], code.grid.level(level), text.rows(image)).x0

    in_batches(work, len(states), batch_rows(states, 2))
    return out.unflatten(0, (len(steps), count))
