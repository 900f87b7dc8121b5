"""Gradient checkpointing, on request or where a pass with gradients does not fit in memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from noisespace.core.batching import is_out_of_memory
from noisespace.errors import RunError
from noisespace.models.memory import free_memory
from noisespace.models.running import frozen

# Of the free memory: what a pass may keep. The rest is for its working memory (docs/optimised.md).
SHARE = 0.7


class ShortError(Exception):
    """A pass keeps more for its way back than it may."""


@contextmanager
def recomputing(network: Any, wanted: bool | None, attempt: Callable[[], Any]) -> Iterator[None]:
    """Gradient checkpointing (arXiv 1604.06174) of a diffusers network, while it is wanted.

    Blocks keep their inputs alone and are evaluated again on the way back: much less memory for
    at most about a third more time, and the same result. ``wanted`` None: where ``attempt``, one
    pass forward and back, does not fit in memory, which is said by a warning. The network is as it
    was afterwards, whatever happens. Raises RunError where memory runs out nevertheless.
    """
    able = getattr(network, "_supports_gradient_checkpointing", False)
    off = able and not network.is_gradient_checkpointing
    if off and wanted is None and (why := too_large(network, attempt)):
        wanted = True
        warnings.warn(
            f"memory is short ({why}): passes are recomputed on the way back, which takes up to a "
            "third longer; recompute=True does so at once, recompute=False never",
            stacklevel=4,
        )
    turned = off and wanted
    if turned:
        network.enable_gradient_checkpointing()
    try:
        with nullcontext() if network is None else frozen(network):
            yield  # the way back evaluates again, and must find the network as it was then
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        on = turned or (able and not off)
        first = "" if on or not able else "recompute=True, "
        raise RunError(
            f"out of memory while tuning{', though passes are recomputed' if on else ''}: use "
            f"{first}fewer images at a time, a smaller size or another dtype"
        ) from None
    finally:
        if turned:
            network.disable_gradient_checkpointing()  # type: ignore[union-attr]


def too_large(network: nn.Module, attempt: Callable[[], Any]) -> str:
    """Why a pass forward and back does not fit in memory; "" where it does.

    Counts on the way what the pass keeps and gives it up at ``SHARE`` of the free memory: a CPU
    has no error to wait for, its process would be killed.
    """
    device, why = next(network.parameters()).device, ""
    free = free_memory(device)
    try:
        with torch.autograd.graph.saved_tensors_hooks(SavedBytes(network, SHARE * free), same):
            attempt()
    except ShortError:
        why = f"one keeps above {SHARE * free / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        why = "the first one ran out of it"
    if why and device.type == "cuda":
        torch.cuda.empty_cache()
    return why


class SavedBytes:
    """A pack hook: the bytes that a pass keeps for its way back, beyond the network's own.

    Tensors that share their storage count once. Raises ShortError above ``limit``.
    """

    def __init__(self, network: nn.Module, limit: float = torch.inf) -> None:
        own = (*network.parameters(), *network.buffers())
        self._seen = {t.untyped_storage().data_ptr() for t in own}
        self._limit, self.bytes = limit, 0

    def __call__(self, x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self.bytes += storage.nbytes()
        if self.bytes > self._limit:
            raise ShortError
        # x itself would hold on to the graph that holds on to it: never freed where given up
        return x.detach()


def same(x: Tensor) -> Tensor:
    return x
