"""The convolutional networks whose features LPIPS compares, as tables of layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from noisespace.errors import InputError

Net = Literal["alex", "vgg", "squeeze"]


@dataclass(frozen=True)
class Conv:
    """A convolution and its ReLU; ``at`` is its number in torchvision's ``features``."""

    at: int
    inside: int
    out: int
    kernel: int
    stride: int = 1
    padding: int = 0
    tap: bool = False  # its ReLU is one of the layers that LPIPS compares


@dataclass(frozen=True)
class Fire:
    """SqueezeNet's module (arXiv 1602.07360): 1x1 to ``squeeze``, then 1x1 and 3x3 side by side."""

    at: int
    inside: int
    squeeze: int
    expand: int
    tap: bool = False


@dataclass(frozen=True)
class Pool:
    """A max-pooling with stride 2; ``up``: sides are rounded up."""

    kernel: int
    up: bool = False


Layer = Conv | Fire | Pool


def _vgg() -> tuple[Layer, ...]:
    """VGG16 (arXiv 1409.1556, column D) up to relu5_3; taps at the last ReLU of each block."""
    layers: list[Layer] = []
    at, inside = 0, 3
    for out, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        if layers:
            layers, at = [*layers, Pool(2)], at + 1
        for i in range(count):
            layers.append(Conv(at, inside, out, 3, padding=1, tap=i == count - 1))
            at, inside = at + 2, out  # a ReLU has a number of its own
    return tuple(layers)


LAYERS: dict[Net, tuple[Layer, ...]] = {
    "alex": (
        Conv(0, 3, 64, 11, stride=4, padding=2, tap=True),
        Pool(3),
        Conv(3, 64, 192, 5, padding=2, tap=True),
        Pool(3),
        Conv(6, 192, 384, 3, padding=1, tap=True),
        Conv(8, 384, 256, 3, padding=1, tap=True),
        Conv(10, 256, 256, 3, padding=1, tap=True),
    ),
    "vgg": _vgg(),
    "squeeze": (
        Conv(0, 3, 64, 3, stride=2, tap=True),
        Pool(3, up=True),
        Fire(3, 64, 16, 64),
        Fire(4, 128, 16, 64, tap=True),
        Pool(3, up=True),
        Fire(6, 128, 32, 128),
        Fire(7, 256, 32, 128, tap=True),
        Pool(3, up=True),
        Fire(9, 256, 48, 192, tap=True),
        Fire(10, 384, 48, 192, tap=True),
        Fire(11, 384, 64, 256, tap=True),
        Fire(12, 512, 64, 256, tap=True),
    ),
}
SMALLEST: dict[Net, int] = {"alex": 31, "vgg": 16, "squeeze": 17}  # sides, in pixels
# The mean and deviation of ImageNet's colours, for pictures in [-1, 1].
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


def shapes(net: Net) -> dict[str, tuple[int, ...]]:
    """Every weight that LPIPS needs of a network, by torchvision's and LPIPS's own names."""
    found: dict[str, tuple[int, ...]] = {}

    def add(name: str, out: int, inside: int, kernel: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = (out, inside, kernel, kernel), (out,)

    heads = []
    for layer in LAYERS[net]:
        if isinstance(layer, Conv):
            add(f"features.{layer.at}", layer.out, layer.inside, layer.kernel)
            heads += [layer.out] * layer.tap
        elif isinstance(layer, Fire):
            name = f"features.{layer.at}"
            add(f"{name}.squeeze", layer.squeeze, layer.inside, 1)
            add(f"{name}.expand1x1", layer.expand, layer.squeeze, 1)
            add(f"{name}.expand3x3", layer.expand, layer.squeeze, 3)
            heads += [2 * layer.expand] * layer.tap
    return found | {f"lin{i}.model.1.weight": (1, width, 1, 1) for i, width in enumerate(heads)}


def features(net: Net, weights: Mapping[str, Tensor], x: Tensor) -> list[Tensor]:
    """The layers that LPIPS compares, (rows, channels, h, w) each.

    ``x`` (rows, 3, H, W) in [-1, 1]. Raises InputError where a side is below ``SMALLEST``.
    """
    if min(x.shape[-2:]) < SMALLEST[net]:
        raise InputError(
            f"got pictures of {x.shape[-1]} x {x.shape[-2]} px, expected sides of at least "
            f"{SMALLEST[net]} px for the network {net}"
        )
    x = (x - x.new_tensor(SHIFT).view(-1, 1, 1)) / x.new_tensor(SCALE).view(-1, 1, 1)
    taps: list[Tensor] = []
    for layer in LAYERS[net]:
        if isinstance(layer, Pool):
            x = functional.max_pool2d(x, layer.kernel, 2, ceil_mode=layer.up)
            continue
        name = f"features.{layer.at}"
        if isinstance(layer, Conv):
            x = _conv(weights, name, x, layer.stride, layer.padding)
        else:
            x = _conv(weights, f"{name}.squeeze", x)
            wide = _conv(weights, f"{name}.expand3x3", x, padding=1)
            x = torch.cat([_conv(weights, f"{name}.expand1x1", x), wide], dim=1)
        if layer.tap:
            taps.append(x)
    return taps


def _conv(
    weights: Mapping[str, Tensor], name: str, x: Tensor, stride: int = 1, padding: int = 0
) -> Tensor:
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return functional.conv2d(x, weight, bias, stride, padding).relu()
