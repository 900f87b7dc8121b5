"""The batched renderer of scenes: signed distance functions, anti-aliased, 64 x 64 pixels.

A signed distance is in pixels, negative inside. Formulas of the star, the heart and the triangle:
Inigo Quilez, "2D distance functions". Coordinates are unit ones: x right, y UP, radius 1.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

SIZE = 64
PERIOD = 8.0  # pixels: two cells of a latent of factor 4, so that the autoencoder can hold it
DIRECTIONS = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.5, 0.5]])  # as GRADIENTS


@dataclass(frozen=True)
class Objects:
    """n objects as tensors: indices (n,), tones (n, 3) in [0, 1], radius and place in pixels."""

    shape: Tensor
    texture: Tensor
    first: Tensor
    second: Tensor
    radius: Tensor
    x: Tensor
    y: Tensor

    def __getitem__(self, index: Tensor | slice) -> Objects:
        return Objects(*(getattr(self, f.name)[index] for f in fields(self)))


def pixels(size: int = SIZE) -> tuple[Tensor, Tensor]:
    """x and y of the pixel centres, each (size, size)."""
    line = torch.arange(size) + 0.5
    y, x = torch.meshgrid(line, line, indexing="ij")
    return x, y


def background(light: Tensor, dark: Tensor, gradient: Tensor) -> Tensor:
    """(n, 3) ends and (n,) gradient indices -> (n, 3, 64, 64); "none" is the middle tone."""
    x, y = pixels()
    way = DIRECTIONS[gradient][:, :, None, None]
    share = (way[:, 0] * x + way[:, 1] * y) / SIZE  # (n, 64, 64), from light to dark
    share = torch.where((gradient == 0)[:, None, None], torch.full_like(share, 0.5), share)[:, None]
    return torch.lerp(light[:, :, None, None], dark[:, :, None, None], share)


def coverage(objects: Objects) -> Tensor:
    """The share of each pixel that each object covers: (n, 64, 64) in [0, 1]."""
    x, y = pixels()
    radius = objects.radius[:, None, None]
    u = (x - objects.x[:, None, None]) / radius
    v = (objects.y[:, None, None] - y) / radius
    distance = torch.empty_like(u)
    for index, function in enumerate(DISTANCES):
        rows = objects.shape == index
        if rows.any():
            distance[rows] = function(u[rows], v[rows])
    return (0.5 - distance * radius).clamp(0, 1)


def paint(objects: Objects, waves: Tensor | None = None) -> Tensor:
    """The colour of each object everywhere, texture included: (n, 3, 64, 64) in [0, 1].

    ``waves`` (n, 3): where the texture's pattern lies, pixels right and down of the centre, and its
    period; scenes have it in the centre, the judge looks for it.
    """
    share = pattern(objects, waves)
    first, second = objects.first[:, :, None, None], objects.second[:, :, None, None]
    return torch.lerp(first, second, share[:, None])


def pattern(objects: Objects, waves: Tensor | None = None) -> Tensor:
    """How much of the second tone each object's texture shows, (n, 64, 64) in [0, 1]."""
    x, y = pixels()
    dx, dy = x - objects.x[:, None, None], y - objects.y[:, None, None]
    if waves is None:
        return second_share(objects.texture, dx, dy, torch.tensor(PERIOD))
    right, down, period = waves.unbind(1)
    moved = dx - right[:, None, None], dy - down[:, None, None]
    return second_share(objects.texture, *moved, period[:, None, None])


def second_share(texture: Tensor, dx: Tensor, dy: Tensor, period: Tensor) -> Tensor:
    """How much of the second tone a texture shows at an offset from its pattern's centre."""
    wave_x = (torch.remainder(dx + period / 2, period) - period / 2).abs()
    wave_y = (torch.remainder(dy + period / 2, period) - period / 2).abs()
    stripes = (0.5 - (wave_y - period / 4)).clamp(0, 1)
    dots = (0.5 - (torch.hypot(wave_x, wave_y) - 2.5 / PERIOD * period)).clamp(0, 1)
    kind = texture[:, None, None]
    return torch.where(kind == 1, stripes, torch.where(kind == 2, dots, torch.zeros_like(dots)))


def compose(under: Tensor, objects: Objects, waves: Tensor | None = None) -> Tensor:
    """Lays one object on each picture: (n, 3, 64, 64) -> the same."""
    return torch.lerp(under, paint(objects, waves), coverage(objects)[:, None])


def _box(u: Tensor, v: Tensor, a: float, b: float) -> Tensor:
    p, q = u.abs() - a, v.abs() - b
    return torch.hypot(p.clamp(min=0), q.clamp(min=0)) + torch.maximum(p, q).clamp(max=0)


def _circle(u: Tensor, v: Tensor) -> Tensor:
    return torch.hypot(u, v) - 1


def _square(u: Tensor, v: Tensor) -> Tensor:
    return _box(u, v, 0.88, 0.88)


def _triangle(u: Tensor, v: Tensor) -> Tensor:
    half, k = 1.15, 3**0.5
    x, y = u.abs() - half, v + 0.33 + half / k
    fold = x + k * y > 0
    x, y = torch.where(fold, (x - k * y) / 2, x), torch.where(fold, (-k * x - y) / 2, y)
    x = x - x.clamp(-2 * half, 0)
    return -torch.hypot(x, y) * torch.sign(y)


def _diamond(u: Tensor, v: Tensor) -> Tensor:
    a, b = 0.82, 1.18
    return (u.abs() / a + v.abs() / b - 1) * (a * b / (a * a + b * b) ** 0.5)


def _star(u: Tensor, v: Tensor) -> Tensor:
    outer, ratio = 1.22, 0.45
    c, s = 0.809016994375, 0.587785252292  # cos and sin of 36 degrees
    x, y = u.abs(), v + 0.1
    for a, b in ((c, -s), (-c, -s)):
        dot = (a * x + b * y).clamp(min=0)
        x, y = x - 2 * dot * a, y - 2 * dot * b
    x, y = x.abs(), y - outer
    bx, by = ratio * s, ratio * c - 1
    h = ((x * bx + y * by) / (bx * bx + by * by)).clamp(0, outer)
    return torch.hypot(x - bx * h, y - by * h) * torch.sign(y * bx - x * by)


def _heart(u: Tensor, v: Tensor) -> Tensor:
    scale = 1.9
    x, y = u.abs() / scale, v / scale + 0.55
    lobe = torch.hypot(x - 0.25, y - 0.75) - 2**0.5 / 4
    half = 0.5 * (x + y).clamp(min=0)
    edge = torch.minimum(torch.hypot(x, y - 1), torch.hypot(x - half, y - half))
    return scale * torch.where(x + y > 1, lobe, edge * torch.sign(x - y))


def _cross(u: Tensor, v: Tensor) -> Tensor:
    return torch.minimum(_box(u, v, 1.08, 0.37), _box(u, v, 0.37, 1.08))


def _ring(u: Tensor, v: Tensor) -> Tensor:
    return (torch.hypot(u, v) - 0.77).abs() - 0.29


DISTANCES = (_circle, _square, _triangle, _diamond, _star, _heart, _cross, _ring)  # as SHAPES
