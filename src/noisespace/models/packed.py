"""Convolutions of a CPU whose weights are brought once into the order that its kernels read.

oneDNN, which computes them, brings the weights of every call into an order of its own: an eighth of
an evaluation of two rows of a small network, whose weights outweigh its states.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

FEW = 4  # rows of a batch
SHAPES = 2  # that weights are packed for
MOST = 2**28 // SHAPES  # bytes of weights that are kept once more for each


class Packed:
    """What a convolution is called with: its results over packed weights, to rounding.

    (To the last bit for channels-last weights on the processors tried; whatever shape came first.)

    In inference mode alone, which is where a model evaluates its network for nobody's gradients;
    for batches of a few rows, since the weights of large ones weigh little, and for the last
    ``SHAPES`` shapes: weights that were packed for another shape took twice as long on one
    processor. One row is left to the convolution itself, for which torch takes other kernels than
    oneDNN's. Weights that were changed since (in place, or moved) are packed anew.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        self.conv = conv
        self._packed: dict[torch.Size, Tensor] = {}
        self._of: tuple[int, int] | None = None

    def __call__(self, input: Tensor) -> Tensor:  # as torch names it
        x, conv = input, self.conv
        few = torch.is_inference_mode_enabled() and 1 < len(x) <= FEW
        if not (few and fits(conv, x)):
            return nn.Conv2d.forward(conv, x)
        return torch.ops.mkldnn._convolution_pointwise(
            x, self.weights(x), conv.bias, *shape(conv), "none", [], ""
        )

    def weights(self, x: Tensor) -> Tensor:
        """The weights as they are packed for a shape; the oldest of too many makes room."""
        now = self.conv.weight._version, self.conv.weight.data_ptr()
        if now != self._of:
            self._packed, self._of = {}, now
        if x.shape not in self._packed:
            if len(self._packed) == SHAPES:
                del self._packed[next(iter(self._packed))]
            self._packed[x.shape] = pack(self.conv, x)
        return self._packed[x.shape]

    def __getstate__(self) -> dict[str, Any]:
        return {"conv": self.conv, "_packed": {}, "_of": None}  # a copy packs its own


def fits(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether both are as the packed kernel wants them, and no autocast is to come between."""
    kind = torch.float32, "cpu"
    both = (x.dtype, x.device.type) == kind == (conv.weight.dtype, conv.weight.device.type)
    return both and not torch.is_autocast_enabled("cpu") and not conv.weight.is_inference()


def shape(conv: nn.Conv2d) -> tuple[Any, ...]:
    """Padding, stride, dilation and groups, as the operators take them."""
    return list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups


def pack(conv: nn.Conv2d, like: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_convolution_weight(
        conv.weight.detach(), *shape(conv), list(like.shape)
    )


def pack_convolutions(network: nn.Module) -> bool:
    """Has the convolutions of a float32 network on a CPU keep their weights packed, too.

    False, with nothing changed, where that cannot be had: another build of torch, or too many
    weights to keep them twice.
    """
    convs = [part for part in network.modules() if packable(part)]
    weights = sum(conv.weight.numel() * conv.weight.element_size() for conv in convs)
    if not convs or weights > MOST or not works():
        return False
    for conv in convs:
        conv.forward = Packed(conv)
    return True


def packable(part: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether it is a plain convolution: no other class, whose forward may be another."""
    return (
        type(part) is nn.Conv2d
        and part.padding_mode == "zeros"
        and not isinstance(part.padding, str)
        and (part.weight.dtype, part.weight.device.type) == (torch.float32, "cpu")
    )


def works() -> bool:
    """Whether this build of torch has the operators (they are not public), and they are right."""
    if not torch.backends.mkldnn.is_available():
        return False
    conv, x = nn.Conv2d(8, 8, 3, padding=1), torch.linspace(-1, 1, 256).reshape(2, 8, 4, 4)
    try:
        with torch.inference_mode():
            return torch.allclose(Packed(conv)(x), conv(x), atol=1e-5)
    except (AttributeError, RuntimeError, TypeError):
        return False
