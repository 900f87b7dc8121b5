"""What stands around one call of a network: inference mode, autocast, a visit of the device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch import Tensor, nn

from noisespace.errors import InputError
from noisespace.models.exclusive import exclusive

# of `work_of`, where two sleepy threads are not faster yet by benchmarks/threads.py: 13 rows of the
# embedded model
LEAST = 2e10


def evaluation_mode(
    device: torch.device, mixed: torch.dtype | None, quiet: bool
) -> AbstractContextManager[object]:
    """Around a call of the network: inference mode where nobody differentiates, and autocast."""
    stack = ExitStack()
    if quiet:
        stack.enter_context(torch.inference_mode())
    if mixed is not None:
        stack.enter_context(torch.autocast(device.type, mixed))
    return stack


@contextmanager
def fitting_threads(weights: int, x: Tensor) -> Iterator[None]:
    """One thread around an evaluation on a CPU that is too small for more.

    ``weights``: the network's parameters, counted; x (rows, c, h, w).

    Where threads sleep between operations (``OMP_WAIT_POLICY=PASSIVE``, which the command line sets
    for the sake of what runs beside it) waking them takes longer than a small operation does.
    """
    count = torch.get_num_threads()
    small = count > 1 and sleepy() and x.device.type == "cpu" and work_of(weights, x) < LEAST
    if small:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if small:
            torch.set_num_threads(count)


def sleepy() -> bool:
    """Whether OpenMP's threads sleep while they wait."""
    return os.environ.get("OMP_WAIT_POLICY", "").upper() == "PASSIVE"


def work_of(weights: int, x: Tensor) -> int:
    """How much an evaluation computes, roughly: rows x positions x parameters."""
    return len(x) * x.shape[-2:].numel() * weights


def own_tensor(output: Tensor, x: Tensor, quiet: bool) -> Tensor:
    """An output in the state's dtype and place, as an ordinary tensor of its own.

    Inference mode's tensors would forbid gradients later on; a CUDA graph's are overwritten.
    """
    out = output.to(x)  # outside inference mode: a conversion gives an ordinary tensor
    return out.clone() if quiet and out.is_inference() else out


@contextmanager
def in_use(module: nn.Module, place: torch.device | None) -> Iterator[None]:
    """A part while it is evaluated: as it answers, not as it is trained, and where it is needed.

    ``place``: the device that it visits; it rests on the CPU otherwise. Where somebody
    differentiates it stays: the way back needs its weights there.
    """
    with exclusive(module), frozen(module):  # who else needs it must not find it on its way back
        if place is not None:
            module.to(place)
        try:
            yield
        finally:
            if place is not None and not torch.is_grad_enabled():
                module.to("cpu")


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """A module in evaluation mode and without gradients of its weights, and then as it was.

    What is loaded here is so already; a pipeline in memory may be somebody's who trains it.
    """
    first = next(module.parameters(), None)
    training = [part for part in module.modules() if part.training] if module.training else []
    asks = first is not None and first.requires_grad
    trained = [p for p in module.parameters() if p.requires_grad] if asks else []
    for part in training:
        part.training = False
    for weight in trained:
        weight.requires_grad = False
    try:
        yield
    finally:
        for part in training:
            part.training = True
        for weight in trained:
            weight.requires_grad = True


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


def weights_of(network: nn.Module) -> int:
    """How many parameters it has; going through them takes a part of a small network's call."""
    return sum(p.numel() for p in network.parameters())


def dtype_of_states(dtype: torch.dtype) -> torch.dtype:
    """States are float32, or the network's dtype where that is wider."""
    return torch.float64 if dtype == torch.float64 else torch.float32
