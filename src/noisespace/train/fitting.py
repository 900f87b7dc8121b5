"""The judge's fits: background, silhouettes and paint, each by rendering candidates in batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from noisespace.train import render
from noisespace.train.palette import COLOURS, GRADIENTS, SHAPES, TEXTURES, muted, tones
from noisespace.train.render import SIZE

OUTLIER = 0.25  # colour difference beyond which a pixel says nothing more about the background
INLIER = 0.12
STEP = 0.5  # pixels, of the numerical derivatives
FARTHEST = 3.0  # pixels that one Gauss-Newton step may go


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
    """Tries every colour and texture on the shapes (n, k) at their places (n, k, 3)."""
    n, k = shapes.shape
    shape, place = shapes.flatten(), places.flatten(0, 1)
    target, under = pictures.repeat_interleave(k, 0), ground.repeat_interleave(k, 0)
    cover = render.coverage(_objects(shape, place))[:, None]
    errors = []
    for texture in range(len(TEXTURES)):
        for colour in range(len(COLOURS)):
            painted = render.paint(_objects(shape, place, colour, texture))
            errors.append((torch.lerp(under, painted, cover) - target).square().mean((1, 2, 3)))
    which = torch.stack(errors, 1).argmin(1)  # (n k,)
    colour, texture = which % len(COLOURS), which // len(COLOURS)

    def draw(p: Tensor) -> Tensor:
        return render.compose(under, _objects(shape, p, colour, texture)).flatten(1)

    place, error = gauss_newton(draw, place, target.flatten(1), rounds=4)
    best = error.unflatten(0, (n, k)).argmin(1) + torch.arange(n) * k
    return Paint(shape[best], colour[best], texture[best], place[best], error[best])


def gauss_newton(
    draw: Callable[[Tensor], Tensor], place: Tensor, target: Tensor, rounds: int
) -> tuple[Tensor, Tensor]:
    """Moves (x, y, radius) (m, 3) so that ``draw`` comes nearer to ``target`` (m, pixels).

    Returns the best places met and their mean square errors (m,).
    """
    best, least = place, torch.full((len(place),), float("inf"))
    for round_ in range(rounds + 1):
        drawn = draw(place)
        error = (drawn - target).square().mean(1)
        better = error < least
        best, least = torch.where(better[:, None], place, best), torch.where(better, error, least)
        if round_ == rounds:
            break
        slopes = torch.stack([(draw(place + step) - drawn) / STEP for step in STEP * torch.eye(3)])
        slopes = slopes.permute(1, 0, 2)  # (m, 3, pixels)
        normal = slopes @ slopes.transpose(1, 2) + 1e-2 * torch.eye(3)
        move = torch.linalg.solve(normal, slopes @ (target - drawn)[..., None])[..., 0]
        place = place + move.clamp(-FARTHEST, FARTHEST)
        place = torch.stack(
            [place[:, 0].clamp(0, SIZE), place[:, 1].clamp(0, SIZE), place[:, 2].clamp(6, 26)], 1
        )
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
