"""Prompt-to-Prompt: the source's attention maps over the target's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor

from noisespace.core.controls import Controls, Site
from noisespace.editing.attention.local_blend import LocalBlend
from noisespace.editing.attention.running_maps import word_pair
from noisespace.editing.attention.token_alignment import Mode, align, find_word
from noisespace.editing.context import EditContext, Window, copy_source, executed_steps
from noisespace.errors import InputError
from noisespace.system.fields import Threshold


@dataclass(frozen=True)
class PromptToPrompt:
    """Prompt-to-Prompt (arXiv 2208.01626): replace, refine, reweight and LocalBlend.

    ``cross``, ``self_``: the share of the executed steps, or (start, end), in which the source's
    cross- and self-attention maps are put in; ``mode``: how words are aligned (see ``align``);
    ``windows``: word of the target -> its own window in place of ``cross``; ``reweight``: word of
    the target -> factor on its map; ``blend``: the edited word in the source and in the target
    prompt (or one word in both), outside whose maps the source stays; ``blend_threshold`` of the
    largest value and ``blend_start``, the share of steps before it begins.
    """

    cross: Window = 0.8
    self_: Window = 0.4
    mode: Mode = "auto"
    reweight: Mapping[str, float] = field(default_factory=dict)
    windows: Mapping[str, Window] = field(default_factory=dict)
    blend: tuple[str, str] | str | None = None
    blend_threshold: Threshold = 0.3
    blend_start: Annotated[float, Interval(ge=0, le=1), "one share of the steps in [0, 1]"] = 0.2

    def controls(self, context: EditContext) -> Controls:
        context.find("cross", "prompt-to-prompt")
        own = executed_steps(self.self_, context.total, "self_")
        largest = self_tokens(context)
        mapper, serves, factors = (x[:, :, None] for x in self.alignment(context))
        when = self.schedule(context)  # (step, image, target, 1, 1, token)
        if self.reweight and not bool(when.any()):
            raise InputError("reweight acts in the window of cross, which holds no step: raise it")
        blend = self.local_blend(context)
        running = [bool(when[k].any()) for k in range(context.total)]

        def reads(step: int, site: Site) -> bool:
            inside = site.kind == "cross" and running[step]
            return inside or (blend is not None and blend.words.reads(site))

        def qkv(step: int, site: Site, q: Tensor, k: Tensor, v: Tensor) -> tuple:
            # The source's queries and keys are its maps; the fused kernel stays in use.
            if site.kind != "self" or step not in own or q.shape[-2] > largest:
                return q, k, v
            return text_only(q, copy_source(q)), text_only(k, copy_source(k)), v

        def probs(step: int, site: Site, p: Tensor) -> Tensor:
            if running[step]:
                theirs = p[0, :, :1].to(p) @ mapper.to(p)  # (image, target, head, query, token)
                mixed = theirs * serves.to(p) + p[0, :, 1:] * (1 - serves.to(p))
                w = when[step].to(p)
                edited = mixed * factors.to(p) * w + p[0, :, 1:] * (1 - w)
                p = torch.cat([torch.cat([p[0, :, :1], edited], 1)[None], p[1:]])
            if blend is not None and blend.words.reads(site):
                blend.words.collect(p[0])
            return p

        after = blend.after if blend else None
        return Controls(after=after, qkv=qkv, probs=probs, reads=reads)

    def alignment(self, context: EditContext) -> tuple[Tensor, Tensor, Tensor]:
        """mapper (image, target, token, token), serves and factors (image, target, 1, token)."""
        fold = (context.images, context.each)
        mappers, serves, factors = [], [], []
        for i, j in context.pairs():
            mapper, served = align(context.source.tokens[i], context.targets.tokens[j], self.mode)
            factor = torch.ones(len(served))
            for word, value in self.reweight.items():
                at = find_word(context.targets.tokens[j], word, context.targets.prompts[j])
                factor[at] = float(value)
            mappers.append(mapper)
            serves.append(served[None])
            factors.append(factor[None])
        device = context.code.path.device
        stacked = (torch.stack(x).to(device) for x in (mappers, serves, factors))
        mapper, served, factor = (x.unflatten(0, fold) for x in stacked)
        return mapper, served, factor

    def schedule(self, context: EditContext) -> Tensor:
        """In which steps the source's maps are put in: (step, image, target, 1, 1, token)."""
        tokens = len(context.targets.tokens[0])
        when = torch.zeros(context.total, context.images * context.each, tokens)
        when[executed_steps(self.cross, context.total, "cross")] = 1
        for word, window in self.windows.items():
            steps = executed_steps(window, context.total, f"the window of {word!r}")
            for _, j in context.pairs():
                at = find_word(context.targets.tokens[j], word, context.targets.prompts[j])
                when[:, j, at] = 0
                when[steps.start : steps.stop, j, torch.tensor(at)[:, None]] = 1
        folded = when.unflatten(1, (context.images, context.each))[:, :, :, None, None]
        return folded.to(context.code.path.device)

    def local_blend(self, context: EditContext) -> LocalBlend | None:
        if self.blend is None:
            return None
        words = word_pair(self.blend, "blend")
        start = executed_steps(self.blend_start, context.total, "blend_start").stop
        return LocalBlend.of(context, words, self.blend_threshold, start)


def text_only(x: Tensor, changed: Tensor) -> Tensor:
    """``changed`` under the text, ``x`` under the null text: (guide, ...)."""
    return torch.cat([changed[:1], x[1:]])


def self_tokens(context: EditContext) -> int:
    """The largest self-attention map that is replaced, in tokens.

    16 x 16 on Stable Diffusion's 64 x 64 latents, a quarter of the sides on larger ones, and every
    map of a small network or of a transformer, whose maps are all of one size.
    """
    height, width = context.latent
    maps = [s.size(height, width) for s in context.model.sites() if s.kind == "self"]
    return max(256, -(-height // 4) * -(-width // 4), min((h * w for h, w in maps), default=0))
