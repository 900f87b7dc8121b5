"""Controls inside a network: the only file that knows how diffusers attends.

Every attention processor of diffusers ends in torch's ``scaled_dot_product_attention``. A control
stands in the place of that one function while a layer is evaluated, so that the layer's processor,
its norms and its rotary embeddings stay what they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from noisespace.core.controls import HookContext, Site
from noisespace.errors import InputError

# Processors of diffusers that compute the same without that function.
PLAIN = ("AttnProcessor", "SlicedAttnProcessor", "XFormersAttnProcessor")


def numbered(found: Sequence[Site]) -> tuple[Site, ...]:
    """Sites in the order of evaluation, each counted among those of its kind."""
    counts, seen = Counter(site.kind for site in found), Counter[str]()
    out = []
    for site in found:
        out.append(replace(site, index=seen[site.kind], count=counts[site.kind]))
        seen[site.kind] += 1
    return tuple(out)


@contextmanager
def controls_in(
    network: nn.Module,
    sites: Sequence[Site],
    hooks: HookContext | None,
    latent: tuple[int, int] = (0, 0),
) -> Iterator[None]:
    """Installs the controls of one network call, and takes them out whatever happens.

    Whoever calls holds the network's lock (``exclusive``): another call must not meet them.
    ``latent``: height and width of the states. Raises InputError where the controls want a layer
    that the network has not, and where a processor keeps its attention to itself.
    """
    if hooks is None or not hooks.controls.inside:
        yield
        return
    wanted = {"feature"} if hooks.controls.feature else set()
    if hooks.controls.qkv or hooks.controls.probs:
        wanted |= {"self", "cross"}
    chosen = [site for site in sites if site.kind in wanted]
    if not chosen:
        raise InputError("the network has no layer that this editor could change")
    modules = dict(network.named_modules())
    with ExitStack() as undo:
        for name, group in groupby(chosen, lambda site: site.name):
            here, module = tuple(group), modules[name]
            if here[0].kind == "feature":
                hook = feature_hook(here[0], hooks, latent)
                undo.callback(module.register_forward_hook(hook).remove)
            else:
                undo.callback(attend_under(module, AttentionControl(here, hooks, latent)))
        yield


def attend_under(module: Any, control: AttentionControl) -> Callable[[], None]:
    """Puts a control into a layer; returns what takes it out again."""
    processor = module.processor
    if type(processor).__name__ in PLAIN and type(processor).__module__.startswith("diffusers."):
        from diffusers.models.attention_processor import AttnProcessor2_0

        module.set_processor(AttnProcessor2_0())

    def begin(*_: Any) -> None:
        control.seen = False
        control.__enter__()

    def end(module: nn.Module, args: Any, output: Any) -> None:
        control.__exit__(None, None, None)
        if output is not None and not control.seen:
            raise InputError(
                f"the attention processor {type(processor).__name__} that was set on this "
                "network computes attention in a way of its own, where no editor can look: set "
                "diffusers' AttnProcessor2_0 on it"
            )

    before = module.register_forward_pre_hook(begin)
    after = module.register_forward_hook(end, always_call=True)

    def undo() -> None:
        before.remove()
        after.remove()
        if module.processor is not processor:
            module.set_processor(processor)

    return undo


def feature_hook(site: Site, hooks: HookContext, latent: tuple[int, int]) -> Any:
    """A forward hook that hands a block's residual branch to the controls.

    As maps (rows, c, h, w); tokens (rows, n, c) are laid out so, those of the text left aside.
    """

    def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        assert hooks.controls.feature
        if output.ndim == 4:
            return hooks.controls.feature(hooks.step, site, hooks.fold(output)).flatten(0, 2)
        image, _ = token_slices(site, latent, output.shape[1])
        h = output[:, image].mT.unflatten(-1, site.size(*latent))
        h = hooks.controls.feature(hooks.step, site, hooks.fold(h)).flatten(0, 2).flatten(2).mT
        out = output.clone()
        out[:, image] = h
        return out

    return hook


def token_slices(site: Site, latent: tuple[int, int], length: int) -> tuple[slice, slice]:
    """Where the image's tokens stand in a sequence, and where the text's."""
    if site.text == "apart":
        return slice(0, length), slice(0, 0)
    height, width = site.size(*latent)
    count = height * width
    first = slice(0, length - count), slice(length - count, length)
    last = slice(count, length), slice(0, count)
    text, image = first if site.text == "first" else last
    return image, text


class AttentionControl(TorchFunctionMode):
    """Stands in the place of ``scaled_dot_product_attention``, once in a layer's evaluation.

    ``sites``: one, or the two of a joint attention, whose image tokens attend to themselves and to
    the text's in one softmax: then each gets its share of the keys, and probabilities that sum to
    one over both. What the text's tokens look at is left as it is.
    """

    def __init__(
        self, sites: tuple[Site, ...], hooks: HookContext, latent: tuple[int, int]
    ) -> None:
        super().__init__()
        self.sites, self.hooks, self.latent = sites, hooks, latent
        self.seen = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # The first: what a processor attends to after it is not the layer's own.
        if func is functional.scaled_dot_product_attention and not self.seen:
            self.seen = True
            return self.attend(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        **rest: Any,
    ) -> Tensor:
        """(batch, head, token, dim) of queries, keys and values to the attended values."""
        assert attn_mask is None or len(self.sites) == 1  # no joint attention here has one
        image, text = token_slices(self.sites[0], self.latent, query.shape[-2])
        keys = [text if site.kind == "cross" else image for site in self.sites]
        if self.sites[0].text == "apart":
            keys = [slice(0, key.shape[-2])]
        parts, same = [], True
        for site, at in zip(self.sites, keys, strict=True):
            own = query[:, :, image], key[:, :, at], value[:, :, at]
            folded = [self.hooks.fold(x) for x in own]
            q, k, v = self.changed(site, *folded)
            same &= q is folded[0] or len(keys) == 1
            parts.append(tuple(x.flatten(0, 2) for x in (q, k, v)))
        if not same or any(self.reads(site) for site in self.sites):
            out = self.by_probabilities(parts, attn_mask, rest.get("scale"))
        else:
            k, v = (torch.cat([part[i] for part in parts], -2) for i in (1, 2))
            out = scaled_dot_product_attention(parts[0][0], k, v, attn_mask, **rest)
        if text.stop == text.start:
            return out
        beside = scaled_dot_product_attention(query[:, :, text], key, value, **rest)
        return torch.cat([beside, out] if text.start == 0 else [out, beside], -2)

    def changed(self, site: Site, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        controls = self.hooks.controls
        return controls.qkv(self.hooks.step, site, q, k, v) if controls.qkv else (q, k, v)

    def reads(self, site: Site) -> bool:
        controls = self.hooks.controls
        return bool(controls.probs) and controls.reads(self.hooks.step, site)

    def by_probabilities(
        self, parts: Sequence[tuple[Tensor, ...]], mask: Tensor | None, scale: float | None
    ) -> Tensor:
        """One softmax over the keys of all parts, and each part's share given to the controls."""
        # at least float32: half precision loses the small probabilities that editors compare
        wide = torch.promote_types(parts[0][0].dtype, torch.float32)
        factor = parts[0][0].shape[-1] ** -0.5 if scale is None else scale
        scores = torch.cat([q.to(wide) @ k.to(wide).mT * factor for q, k, _ in parts], -1)
        if mask is not None and mask.dtype == torch.bool:
            scores = scores.masked_fill(~mask, -torch.inf)
        elif mask is not None:
            scores = scores + mask
        shares = scores.softmax(-1).split([k.shape[-2] for _, k, _ in parts], -1)
        out: Any = 0
        for site, p, (_, _, v) in zip(self.sites, shares, parts, strict=True):
            if self.reads(site):
                change: Any = self.hooks.controls.probs
                p = change(self.hooks.step, site, self.hooks.fold(p)).flatten(0, 2)
            out = out + p.to(v.dtype) @ v
        return out
