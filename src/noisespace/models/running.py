"""What stands around one call of a network: inference mode, autocast, a visit of the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from noisespace.errors import InputError


def evaluating(
    device: torch.device, mixed: torch.dtype | None, quiet: bool
) -> AbstractContextManager[object]:
    """Around a call of the network: inference mode where nobody differentiates, and autocast."""
    stack = ExitStack()
    if quiet:
        stack.enter_context(torch.inference_mode())
    if mixed is not None:
        stack.enter_context(torch.autocast(device.type, mixed))
    return stack


def owned(output: Tensor, x: Tensor, quiet: bool) -> Tensor:
    """An output in the state's dtype and place, as an ordinary tensor of its own.

    Inference mode's tensors would forbid gradients later on; a CUDA graph's are overwritten.
    """
    out = output.to(x)  # outside inference mode: a conversion gives an ordinary tensor
    return out.clone() if quiet and out.is_inference() else out


def visiting(module: nn.Module, place: torch.device | None) -> AbstractContextManager[None]:
    """A part on the device where it is needed; it rests on the CPU otherwise.

    Where somebody differentiates it stays: the way back needs its weights there.
    """
    return nullcontext() if place is None else lent(module, place)


@contextmanager
def lent(module: nn.Module, place: torch.device) -> Iterator[None]:
    module.to(place)
    try:
        yield
    finally:
        if not torch.is_grad_enabled():
            module.to("cpu")


def check_gradients(network: nn.Module, place: torch.device | None) -> None:
    """Raises InputError where a network shall be differentiated whose layers rest elsewhere.

    They are back on the CPU when the way back needs them.
    """
    if place is None or not torch.is_grad_enabled():
        return
    if next(network.parameters()).device.type != place.type:
        raise InputError(
            "offload layers goes without gradients, which this method needs: use offload parts, or "
            "a smaller size"
        )
