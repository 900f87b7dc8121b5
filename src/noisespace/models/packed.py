"""Convolutions of a CPU whose weights are brought once into the order that its kernels read.

oneDNN, which computes them, brings the weights of every call into an order of its own: an eighth of
an evaluation of two rows of a small network, whose weights outweigh its states.
"""

from __future__ import annotations

import copy
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

MOST = 2**28  # bytes of weights that are kept a second time


class PackedConv(nn.Module):
    """A convolution over packed weights: its results, to the last bit.

    One row is left to the convolution itself, for which torch takes other kernels than oneDNN's.
    Weights that were changed since (in place, or moved) are packed anew.
    """

    conv: nn.Conv2d

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self._packed: Tensor | None = None
        self._of: tuple[int, int] | None = None

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        if len(x) == 1 or x.dtype != torch.float32:
            return conv(x)
        now = conv.weight._version, conv.weight.data_ptr()
        if self._packed is None or now != self._of:
            self._packed, self._of = pack(conv, x), now
        return torch.ops.mkldnn._convolution_pointwise(
            x, self._packed, conv.bias, *shape(conv), "none", [], ""
        )


def shape(conv: nn.Conv2d) -> tuple[Any, ...]:
    """Padding, stride, dilation and groups, as the operators take them."""
    return list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups


def pack(conv: nn.Conv2d, like: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_convolution_weight(
        conv.weight.detach(), *shape(conv), list(like.shape)
    )


def packed(network: nn.Module) -> nn.Module | None:
    """A copy of a float32 network of a CPU that shares its weights and packs its convolutions.

    None where that cannot be had: another build of torch, or too many weights to keep them twice.
    """
    convs = [part for part in network.modules() if packable(part)]
    weights = sum(conv.weight.numel() * conv.weight.element_size() for conv in convs)
    if not convs or weights > MOST or not works():
        return None
    return sharing(network)


def packable(part: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether it is a plain convolution: no other class, whose forward may be another."""
    return (
        type(part) is nn.Conv2d
        and part.padding_mode == "zeros"
        and not isinstance(part.padding, str)
        and part.weight.dtype == torch.float32
        and part.weight.device.type == "cpu"
    )


def works() -> bool:
    """Whether this build of torch has the operators (they are not public), and they are right."""
    if not torch.backends.mkldnn.is_available():
        return False
    conv, x = nn.Conv2d(8, 8, 3, padding=1), torch.linspace(-1, 1, 2 * 8 * 16).reshape(2, 8, 4, 4)
    try:
        with torch.inference_mode():
            return torch.allclose(PackedConv(conv)(x), conv(x), atol=1e-5)
    except (AttributeError, RuntimeError, TypeError):
        return False


def sharing(part: nn.Module) -> nn.Module:
    """A module with the very parameters of another one, its convolutions packed."""
    if packable(part):
        return PackedConv(part)
    own = copy.copy(part)
    children = {name: None if c is None else sharing(c) for name, c in part._modules.items()}
    own._modules = children  # type: ignore[assignment]
    return own
