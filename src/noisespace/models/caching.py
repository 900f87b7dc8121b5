"""Feature caching across steps (DeepCache, arXiv 2312.00858): deep features change slowly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from noisespace.core.backbone import Denoiser
from noisespace.core.condition import Condition
from noisespace.core.controls import HookContext
from noisespace.core.grid import Level
from noisespace.core.prediction import Prediction
from noisespace.errors import InputError
from noisespace.models.base import ModelWrapper
from noisespace.models.exclusive import exclusive


@dataclass(frozen=True)
class Cached(ModelWrapper):
    """A model whose replays evaluate the whole network in every ``every``-th step alone.

    The steps between take what the last whole evaluation handed to the uppermost decoder block,
    and evaluate conv_in, the first encoder block and that decoder block anew: an approximation,
    whose error docs/performance.md gives. Inversions are computed in full, and so is every step in
    which an editor looks inside the network or differentiates it, and what runs under an adapter.
    """

    every: int

    def __post_init__(self) -> None:
        whole = isinstance(self.every, int) and not isinstance(self.every, bool)
        if not whole or not 1 <= self.every <= 100:
            raise InputError(f"cache must be 1 to 100 steps, got {self.every!r}")
        check_cacheable(self.model.network)

    @property
    def speed(self) -> dict[str, Any]:
        """What a record says of it."""
        return {**self.model.speed, "cache": self.every}

    def denoise(
        self, x: Tensor, level: Level, condition: Condition, hooks: HookContext | None = None
    ) -> Prediction:
        """In full: what is asked for outside a replay has no step before it."""
        return self.model.denoise(x, level, condition, hooks)

    def begin(self) -> Denoiser:
        """The denoiser of one replay."""
        return Replaying(self.model, self.every)


@dataclass
class Replaying:
    """A replay's denoiser: keeps the deep features of its last whole evaluation.

    ``kept``: those of the rows from ``start`` on, counted through all evaluations of a step: the
    parts of a batch that is cut, and the several evaluations of some methods. A part whose memory
    ran out counts for nothing, and what was kept of a longer part is not taken for a shorter one's.
    """

    model: Any
    every: int
    step: int = -1
    told: float | None = None
    start: int = 0
    kept: dict[int, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # once, since a copy of a model counts its weights anew
        self.shallow = Shallow(self.model.network)
        self.short = replace(self.model, call=self.shallow)
        self.whole = replace(self.model, call=None)

    def __call__(
        self, x: Tensor, level: Level, condition: Condition, hooks: HookContext | None = None
    ) -> Prediction:
        told = float(level.t.flatten()[0])
        if told != self.told:
            self.told, self.step, self.start = told, self.step + 1, 0
        if hooks is not None or torch.is_grad_enabled():
            return self.model.denoise(x, level, condition, hooks)
        deep = self.kept.get(self.start)
        if self.step % self.every and deep is not None and len(deep) == len(x):
            self.shallow.deep = deep
            prediction = self.short.denoise(x, level, condition)
        else:
            with watch_features(self.model.network) as seen:
                prediction = self.whole.denoise(x, level, condition)
            self.kept[self.start] = seen[0]
        self.start += len(x)  # only now: where memory ran out, the same rows come again
        return prediction


@dataclass
class Shallow:
    """A U-Net's outermost blocks, under ``deep`` features from another evaluation.

    With the features of the same state it is the U-Net, which a test holds.
    """

    network: Any
    deep: Tensor | None = None

    def __call__(self, x: Tensor, t: Tensor, encoder_hidden_states: Tensor) -> Any:
        unet, text = self.network, encoder_hidden_states
        emb = unet.time_embedding(unet.get_time_embed(sample=x, timestep=t))
        x = unet.conv_in(x)
        block, skips = unet.down_blocks[0], [x]
        attentions = getattr(block, "attentions", [None] * len(block.resnets))
        for resnet, attention in zip(block.resnets, attentions, strict=True):
            x = resnet(x, emb)
            if attention is not None:
                x = attention(x, encoder_hidden_states=text, return_dict=False)[0]
            skips.append(x)
        last = unet.up_blocks[-1]
        told = {"encoder_hidden_states": text} if crossing(last) else {}
        x = last(self.deep, temb=emb, res_hidden_states_tuple=tuple(skips), **told)
        if unet.conv_norm_out:
            x = unet.conv_act(unet.conv_norm_out(x))
        return SimpleNamespace(sample=unet.conv_out(x))


@contextmanager
def watch_features(unet: nn.Module) -> Iterator[list[Tensor]]:
    """Collects what the uppermost decoder block of a U-Net is handed."""
    seen: list[Tensor] = []

    def look(module: nn.Module, args: Any, kwargs: Any) -> None:
        seen.append(kwargs["hidden_states"] if "hidden_states" in kwargs else args[0])

    last: Any = unet.get_submodule("up_blocks")[-1]  # type: ignore[index]  # a ModuleList
    with exclusive(unet):
        handle = last.register_forward_pre_hook(look, with_kwargs=True)
        try:
            yield seen
        finally:
            handle.remove()


def crossing(block: Any) -> bool:
    return bool(getattr(block, "has_cross_attention", False))


def check_cacheable(unet: Any) -> None:
    """Raises InputError for a network whose outermost blocks are not those of Stable Diffusion."""
    config = unet.config
    known = type(unet).__name__ == "UNet2DConditionModel" and len(unet.up_blocks) > 1
    plain = known and not (config.class_embed_type or config.addition_embed_type)
    if not plain or config.center_input_sample or config.encoder_hid_dim_type:
        raise InputError(
            "caching is for the U-Nets of Stable Diffusion 1.x and 2.x; leave out cache for this "
            "model"
        )
