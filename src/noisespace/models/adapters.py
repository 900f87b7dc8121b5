"""Low-rank adapters: a fine-tuned copy of a network that never touches the network.

An adapter is a few small matrices for the attention projections (LoRA, arXiv 2106.09685). They are
added by hooks that live as long as one call of the network, so that the loaded weights stay as they
are, and a code can carry them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from noisespace.core.condition import Condition
from noisespace.core.controls import HookContext
from noisespace.core.grid import Level
from noisespace.core.prediction import Prediction
from noisespace.errors import InputError
from noisespace.models.base import ModelWrapper
from noisespace.models.exclusive import exclusive

PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")
Adapter = Mapping[str, Tensor]  # "<module>.down" (rank, in) and "<module>.up" (out, rank)


def new_adapter(network: nn.Module | None, rank: int, generator: Generator) -> dict[str, Tensor]:
    """An adapter that changes nothing yet: random down, zero up (arXiv 2106.09685, sec. 4.1).

    Raises InputError for a network without attention projections.
    """
    out = {}
    for name, module in network.named_modules() if network is not None else ():
        # a layer with a LoRA of PEFT is around the one that it had been
        layer = getattr(module, "base_layer", module)
        if isinstance(layer, nn.Linear) and name.endswith(PROJECTIONS):
            weight = layer.weight
            down = torch.randn(rank, weight.shape[1], generator=generator) / rank
            out[f"{name}.down"] = down.to(weight)
            out[f"{name}.up"] = torch.zeros(weight.shape[0], rank).to(weight)
    if not out:
        raise InputError("this model has no attention projections to fine-tune")
    return out


@contextmanager
def adapting(network: nn.Module, adapter: Adapter) -> Iterator[None]:
    """Adds an adapter's matrices to a network's projections while one caller evaluates it."""
    with exclusive(network), ExitStack() as hooks:
        modules = dict(network.named_modules()) if adapter else {}
        for name in {key.rpartition(".")[0] for key in adapter}:
            if name not in modules:
                raise InputError(f"the adapter is of another network: there is no layer {name}")
            parts = adapter[f"{name}.down"], adapter[f"{name}.up"]
            hooks.callback(modules[name].register_forward_hook(adding(*parts)).remove)
        yield


def adding(down: Tensor, up: Tensor) -> Any:
    """A forward hook: output + up down input."""

    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + (args[0] @ down.to(output).T) @ up.to(output).T

    return hook


@dataclass(frozen=True)
class Adapted(ModelWrapper):
    """A model whose network is called with an adapter; everything else is the model's own."""

    adapter: Adapter

    def denoise(
        self, x: Tensor, level: Level, condition: Condition, hooks: HookContext | None = None
    ) -> Prediction:
        with adapting(self.model.network, self.adapter):
            return self.model.without_compilation().denoise(x, level, condition, hooks)


def with_adapter(model: Any, adapter: Adapter) -> Any:
    """The model that a code is replayed with: under the code's adapter, if it carries one."""
    return Adapted(model, adapter) if adapter else model
