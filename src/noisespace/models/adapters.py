"""Low-rank adapters: a fine-tuned copy of a network that never touches the network.

An adapter is a few small matrices for the attention projections (LoRA, arXiv 2106.09685). They are
added by hooks that live as long as one call of the network, so that the loaded weights stay as they
are, and a code can carry them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor, nn

from noisespace.denoiser import Text, Touch
from noisespace.errors import InputError
from noisespace.models.base import Around
from noisespace.prediction import Prediction
from noisespace.schedule import Level

PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")
Adapter = Mapping[str, Tensor]  # "<module>.down" (rank, in) and "<module>.up" (out, rank)


def new_adapter(network: nn.Module | None, rank: int, generator: Generator) -> dict[str, Tensor]:
    """An adapter that changes nothing yet: random down, zero up (arXiv 2106.09685, sec. 4.1).

    Raises InputError for a network without attention projections.
    """
    out = {}
    for name, module in network.named_modules() if network is not None else ():
        if isinstance(module, nn.Linear) and name.endswith(PROJECTIONS):
            weight = module.weight
            down = torch.randn(rank, weight.shape[1], generator=generator) / rank
            out[f"{name}.down"] = down.to(weight)
            out[f"{name}.up"] = torch.zeros(weight.shape[0], rank).to(weight)
    if not out:
        raise InputError("this model has no attention projections to fine-tune")
    return out


@contextmanager
def adapting(network: nn.Module, adapter: Adapter) -> Iterator[None]:
    """Adds an adapter's matrices to the projections of a network while it is called."""
    modules, handles = dict(network.named_modules()), []
    try:
        for name in {key.rpartition(".")[0] for key in adapter}:
            if name not in modules:
                raise InputError(f"the adapter is of another network: there is no layer {name}")
            parts = adapter[f"{name}.down"], adapter[f"{name}.up"]
            handles.append(modules[name].register_forward_hook(adding(*parts)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def adding(down: Tensor, up: Tensor) -> Any:
    """A forward hook: output + up down input."""

    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + (args[0] @ down.to(output).T) @ up.to(output).T

    return hook


@dataclass(frozen=True)
class Adapted(Around):
    """A model whose network is called with an adapter; everything else is the model's own."""

    adapter: Adapter

    def denoise(
        self, x: Tensor, level: Level, text: Text, touch: Touch | None = None
    ) -> Prediction:
        with adapting(self.model.unet, self.adapter):
            return direct(self.model).denoise(x, level, text, touch)


def direct(model: Any) -> Any:
    """The model with its network called itself: compiled code would not see an adapter's hooks."""
    if isinstance(model, Around):
        return replace(model, model=direct(model.model))  # type: ignore[type-var]  # dataclasses
    return model if getattr(model, "call", None) is None else replace(model, call=None)


def adapted(model: Any, code: Any, source: bool = False) -> Any:
    """The model that a code is replayed with: under the code's adapter, if it carries one.

    ``source``: for the source alone, which some adapters leave alone.
    """
    idle = source and code.info.adapts == "targets"
    return Adapted(model, code.adapter) if code.adapter and not idle else model
