"""Controls inside a diffusers U-Net: the only file that knows diffusers' attention."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from noisespace.core.controls import HookContext, Site
from noisespace.errors import InputError
from noisespace.models.exclusive import exclusive

PLACES = ("down", "mid", "up")
DECODER_BLOCK = re.compile(r"up_blocks\.\d+\.resnets\.\d+")


def find_sites(unet: nn.Module) -> tuple[Site, ...]:
    """Every attention and decoder feature of a U-Net, in the order of evaluation."""
    depth = len(unet.get_submodule("down_blocks")._modules)
    found: list[Site] = []
    for name, module in unet.named_modules():
        place = name.split("_", 1)[0]
        if place not in PLACES:
            continue
        if hasattr(module, "to_q") and hasattr(module, "set_processor"):
            kind = "cross" if getattr(module, "is_cross_attention", False) else "self"
        elif DECODER_BLOCK.fullmatch(name) and hasattr(module, "conv2"):
            kind = "feature"
        else:
            continue
        block = int(name.split(".")[1]) if place != "mid" else 0
        level = {"down": block, "mid": depth - 1, "up": depth - 1 - block}[place]
        found.append(Site(name, kind, place, 0, 0, 2**level))
    found.sort(key=lambda site: PLACES.index(site.place))  # stable; the up blocks register first
    counts = {kind: sum(s.kind == kind for s in found) for kind in ("self", "cross", "feature")}
    seen = dict.fromkeys(counts, 0)
    numbered = []
    for site in found:
        numbered.append(replace(site, index=seen[site.kind], count=counts[site.kind]))
        seen[site.kind] += 1
    return tuple(numbered)


@contextmanager
def controls_in(unet: nn.Module, hooks: HookContext | None) -> Iterator[None]:
    """Installs the controls of one network call, and takes them out whatever happens.

    Raises InputError where they want attention and the network has none.
    """
    if hooks is None or not hooks.controls.inside:
        yield
        return
    wanted = {"feature"} if hooks.controls.feature else set()
    if hooks.controls.qkv or hooks.controls.probs:
        wanted |= {"self", "cross"}
    sites = [site for site in find_sites(unet) if site.kind in wanted]
    if not sites:
        raise InputError("the network has no layer that this editor could change")
    modules = dict(unet.named_modules())
    with exclusive(unet), ExitStack() as undo:
        for site in sites:
            module: Any = modules[site.name]
            if site.kind == "feature":
                undo.callback(module.conv2.register_forward_hook(feature_hook(site, hooks)).remove)
            else:
                undo.callback(put_processor(module, Processor(site, hooks)))
        yield


def put_processor(module: Any, processor: Any) -> Any:
    """Sets an attention's processor; returns what puts the original object back."""
    original = module.processor
    module.set_processor(processor)

    def restore() -> None:
        module.set_processor(original)

    return restore


def feature_hook(site: Site, hooks: HookContext) -> Any:
    """A forward hook that hands a block's residual branch to the controls."""

    def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        assert hooks.controls.feature
        return hooks.controls.feature(hooks.step, site, hooks.fold(output)).flatten(0, 2)

    return hook


class Processor:
    """diffusers' attention with controls in it; the fused kernel unless probabilities are read."""

    def __init__(self, site: Site, hooks: HookContext) -> None:
        self.site, self.hooks = site, hooks

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        residual, shape = hidden_states, hidden_states.shape
        if attn.spatial_norm is not None:
            hidden_states = attn.spatial_norm(hidden_states, temb)
        if len(shape) == 4:
            hidden_states = hidden_states.flatten(2).transpose(1, 2)
        if attn.group_norm is not None:
            hidden_states = attn.group_norm(hidden_states.transpose(1, 2)).transpose(1, 2)
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if encoder_hidden_states is not None and attn.norm_cross:
            context = attn.norm_encoder_hidden_states(context)
        q, k, v = (
            layer(x).unflatten(-1, (attn.heads, -1)).transpose(1, 2)  # (batch, head, token, dim)
            for layer, x in ((attn.to_q, hidden_states), (attn.to_k, context), (attn.to_v, context))
        )
        q = q if attn.norm_q is None else attn.norm_q(q)
        k = k if attn.norm_k is None else attn.norm_k(k)
        mask = attention_mask
        if mask is not None:
            mask = attn.prepare_attention_mask(mask, context.shape[1], len(context))
            mask = mask.view(len(context), attn.heads, -1, mask.shape[-1])
        out = self.attend(q, k, v, mask).transpose(1, 2).flatten(2)
        out = attn.to_out[1](attn.to_out[0](out))
        if len(shape) == 4:
            out = out.transpose(1, 2).reshape(shape)
        if attn.residual_connection:
            out = out + residual
        return out / attn.rescale_output_factor

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, head, token, dim) of queries, keys and values to the attended values."""
        hooks, controls = self.hooks, self.hooks.controls
        if controls.qkv:
            folded = controls.qkv(hooks.step, self.site, *(hooks.fold(x) for x in (q, k, v)))
            q, k, v = (x.flatten(0, 2) for x in folded)
        if not controls.probs or not controls.reads(hooks.step, self.site):
            return scaled_dot_product_attention(q, k, v, attn_mask=mask)
        # at least float32: half precision loses the small probabilities that editors compare
        wide = torch.promote_types(q.dtype, torch.float32)
        scores = q.to(wide) @ k.to(wide).transpose(-1, -2) * q.shape[-1] ** -0.5
        p = (scores if mask is None else scores + mask).softmax(-1)
        p = controls.probs(hooks.step, self.site, hooks.fold(p)).flatten(0, 2)
        return p.to(v.dtype) @ v
