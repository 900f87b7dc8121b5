"""The judge's fits: background, silhouettes and paint, each by rendering candidates in batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from noisespace.train import render
from noisespace.train.palette import COLOURS, GRADIENTS, SHAPES, muted, tones
from noisespace.train.render import SIZE

OUTLIER = 0.25  # colour difference beyond which a pixel says nothing more about the background
INLIER = 0.12
STEP = 0.5  # pixels, of the numerical derivatives
FARTHEST = 3.0  # pixels that one Gauss-Newton step may go
# of x, y, radius, and of a pattern's right, down, period
LOWEST = torch.tensor([0.0, 0.0, 6.0, -99.0, -99.0, 0.7 * render.PERIOD])
HIGHEST = torch.tensor([SIZE, SIZE, 26.0, 99.0, 99.0, 1.2 * render.PERIOD])


@dataclass(frozen=True)
class Ground:
    """Fitted backgrounds: (n, 3, 64, 64), indices (n,), and the share of pixels that fit (n,)."""

    picture: Tensor
    colour: Tensor
    gradient: Tensor
    share: Tensor


@dataclass(frozen=True)
class Paint:
    """The best rendering of each picture: indices (n,), (x, y, radius) (n, 3), mean square (n,)."""

    shape: Tensor
    colour: Tensor
    texture: Tensor
    place: Tensor
    error: Tensor


def fit_background(pictures: Tensor) -> Ground:
    """The named background nearest to each picture, then a linear fit to the pixels it explains."""
    ends = [muted(colour) for colour in COLOURS for _ in GRADIENTS]
    kinds = torch.arange(len(GRADIENTS)).repeat(len(COLOURS))
    light, dark = torch.tensor([e[0] for e in ends]), torch.tensor([e[1] for e in ends])
    bank = render.background(light, dark, kinds)  # (40, 3, 64, 64)
    scores = torch.stack(
        [(pictures - b).abs().amax(1).clamp(max=OUTLIER).mean((1, 2)) for b in bank], dim=1
    )
    best = scores.argmin(1)
    inside = (pictures - bank[best]).abs().amax(1) < INLIER  # (n, 64, 64)
    x, y = render.pixels()
    basis = torch.stack([torch.ones_like(x), x / SIZE - 0.5, y / SIZE - 0.5]).flatten(1)  # (3, hw)
    weighted = basis * inside.flatten(1)[:, None].float()  # (n, 3, hw)
    normal = weighted @ basis.T + 1e-3 * torch.eye(3)
    plane = torch.linalg.solve(normal, weighted @ pictures.flatten(2).transpose(1, 2))
    smooth = (plane.transpose(1, 2) @ basis).unflatten(2, (SIZE, SIZE))
    share = inside.float().mean((1, 2))
    smooth = torch.where((share > 0.1)[:, None, None, None], smooth, bank[best])
    return Ground(smooth, best // len(GRADIENTS), best % len(GRADIENTS), share)


def foreground(pictures: Tensor, ground: Tensor) -> Tensor:
    """How much each pixel differs from the background: (n, 64, 64) in [0, 1]."""
    difference = (pictures - ground).square().sum(1).sqrt()
    return ((difference - 0.08) / 0.12).clamp(0, 1)


def fit_silhouettes(silhouette: Tensor) -> tuple[Tensor, Tensor]:
    """Fits every shape to every silhouette: (x, y, radius) (n, 8, 3) and mean square (n, 8)."""
    n, kinds = len(silhouette), len(SHAPES)
    unit = _objects(torch.arange(kinds), torch.tensor([[32.0, 32.0, 20.0]]).repeat(kinds, 1))
    area, middle = _moments(render.coverage(unit))
    area, middle = area / 400, (middle - 32) / 20  # of the shape of radius one
    seen, centre = _moments(silhouette)
    radius = (seen[:, None] / area).sqrt().clamp(6, 26)  # (n, 8)
    place = torch.cat([centre[:, None] - radius[..., None] * middle, radius[..., None]], dim=2)
    place = place.flatten(0, 1)
    index = torch.arange(kinds).repeat(n)
    target = silhouette.repeat_interleave(kinds, 0)

    def draw(p: Tensor) -> Tensor:
        return render.coverage(_objects(index, p)).flatten(1)

    place, error = gauss_newton(draw, place, target.flatten(1), rounds=4)
    return place.unflatten(0, (n, kinds)), error.unflatten(0, (n, kinds))


def fit_paint(pictures: Tensor, ground: Tensor, shapes: Tensor, places: Tensor) -> Paint:
    """Tries every colour and texture on the shapes (n, k) at their places (n, k, 3).

    A texture's pattern may lie anywhere and be a little finer or coarser than the renderer's: what
    it is called does not depend on that, and a pattern taken to be elsewhere would outweigh the
    shape. So a few are tried for each texture, and the best is moved with the place.
    """
    n, k = shapes.shape
    shape, place = shapes.flatten(), places.flatten(0, 1)
    target, under = pictures.repeat_interleave(k, 0), ground.repeat_interleave(k, 0)
    cover = render.coverage(_objects(shape, place))
    errors = torch.cat(
        [
            paint_errors(target, under, cover, render.pattern(_objects(shape, place, 0, t), wave))
            for t, wave in ((t, w.expand(n * k, 3)) for t, w in PATTERNS)
        ],
        dim=1,
    )  # (n k, patterns * colours)
    which = errors.argmin(1)
    colour, tried = which % len(COLOURS), which // len(COLOURS)
    texture = torch.tensor([t for t, _ in PATTERNS])[tried]
    waves = torch.stack([w for _, w in PATTERNS])[tried]

    def draw(p: Tensor) -> Tensor:
        objects = _objects(shape, p[:, :3], colour, texture)
        return render.compose(under, objects, p[:, 3:]).flatten(1)

    fitted, error = gauss_newton(draw, torch.cat([place, waves], 1), target.flatten(1), rounds=4)
    best = error.unflatten(0, (n, k)).argmin(1) + torch.arange(n) * k
    return Paint(shape[best], colour[best], texture[best], fitted[best, :3], error[best])


def _patterns() -> list[tuple[int, Tensor]]:
    """(texture, (right, down, period)) of the patterns that are tried: phases a quarter apart."""
    out = [(0, torch.tensor([0.0, 0.0, render.PERIOD]))]
    for period in (render.PERIOD, 0.82 * render.PERIOD):
        quarters = [period * q / 4 for q in range(4)]
        out += [(1, torch.tensor([0.0, down, period])) for down in quarters]
        out += [(2, torch.tensor([right, down, period])) for down in quarters for right in quarters]
    return out


PATTERNS = _patterns()


def paint_errors(target: Tensor, under: Tensor, cover: Tensor, share: Tensor) -> Tensor:
    """Mean square error of an object in each named colour, (m, 10), without rendering any.

    The picture is ``cover * (first + share * (second - first)) + (1 - cover) * under``: quadratic
    in the two tones, so that a few inner products over the pixels serve all colours.
    """
    bank = torch.tensor([tones(name) for name in COLOURS])  # (10, 2, 3)
    first, step = bank[:, 0], bank[:, 1] - bank[:, 0]
    rest = (target - (1 - cover)[:, None] * under).flatten(2)  # (m, 3, pixels)
    a, b = cover.flatten(1), (cover * share).flatten(1)
    aa, bb, ab = ((x * y).sum(1)[:, None] for x, y in ((a, a), (b, b), (a, b)))
    at, bt = (torch.einsum("mp,mcp->mc", x, rest) for x in (a, b))
    square = (
        aa * first.square().sum(1)
        + bb * step.square().sum(1)
        + 2 * ab * (first * step).sum(1)
        - 2 * (at @ first.T + bt @ step.T)
        + rest.square().sum((1, 2))[:, None]
    )
    return square / rest[0].numel()


def gauss_newton(
    draw: Callable[[Tensor], Tensor], place: Tensor, target: Tensor, rounds: int
) -> tuple[Tensor, Tensor]:
    """Moves (x, y, radius) (m, 3), or that and a pattern's (right, down, period) (m, 6), so that
    ``draw`` comes nearer to ``target`` (m, pixels).

    Returns the best places met and their mean square errors (m,).
    """
    low, high = LOWEST[: place.shape[1]], HIGHEST[: place.shape[1]]
    unit = torch.eye(place.shape[1])
    best, least = place, torch.full((len(place),), float("inf"))
    for round_ in range(rounds + 1):
        drawn = draw(place)
        error = (drawn - target).square().mean(1)
        better = error < least
        best, least = torch.where(better[:, None], place, best), torch.where(better, error, least)
        if round_ == rounds:
            break
        slopes = torch.stack([(draw(place + step) - drawn) / STEP for step in STEP * unit])
        slopes = slopes.permute(1, 0, 2)  # (m, parameters, pixels)
        normal = slopes @ slopes.transpose(1, 2) + 1e-2 * unit
        move = torch.linalg.solve(normal, slopes @ (target - drawn)[..., None])[..., 0]
        place = torch.minimum(torch.maximum(place + move.clamp(-FARTHEST, FARTHEST), low), high)
    return best, least


def _moments(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Areas (n,) and centres (n, 2) of masks (n, 64, 64)."""
    x, y = render.pixels()
    area = masks.sum((1, 2)).clamp(min=1e-3)
    return area, torch.stack([(masks * x).sum((1, 2)), (masks * y).sum((1, 2))], 1) / area[:, None]


def _objects(
    shape: Tensor, place: Tensor, colour: Tensor | int = 0, texture: Tensor | int = 0
) -> render.Objects:
    ends = [tones(name) for name in COLOURS]
    bank = torch.tensor(ends)  # (10, 2, 3)
    colour = torch.as_tensor(colour).expand(len(shape))
    texture = torch.as_tensor(texture).expand(len(shape))
    first, second = bank[colour].unbind(1)
    return render.Objects(shape, texture, first, second, place[:, 2], place[:, 0], place[:, 1])
