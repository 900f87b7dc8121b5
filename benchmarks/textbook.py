"""The public implementations' way of computing, from the papers: the baseline of all speeds.

Batch 1, conditional and unconditional prediction apart, one timestep at a time, all steps inverted,
those that will be skipped too; attention maps kept whether used or not (``storing``), as notebooks
that register an AttentionStore do. Plain loops over a noisespace model's parts, none of its own
loop. `pipelines.py` has diffusers' own. Alpha-bars are numbers of the host in float64, whatever the
states' dtype: in bfloat16 a schedule's last ones are 1, and the step between them 0 / 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from noisespace.core.streams import stream


@dataclass(frozen=True)
class Maps:
    """An edit-friendly inversion as the public code keeps it: all x_t and all z_t."""

    x: Tensor  # (n + 1, 1, c, h, w), noisiest first
    z: Tensor  # (n, 1, c, h, w)


def predict(model, x: Tensor, t: Tensor, text, null, w: float) -> Tensor:
    """Classifier-free guidance by two calls of the network, batch 1; in the dtype of x."""
    told = x.to(text.embedding.dtype)
    unconditional = model.network(told, t, encoder_hidden_states=null.embedding).sample
    conditional = model.network(told, t, encoder_hidden_states=text.embedding).sample
    return (unconditional + w * (conditional - unconditional)).to(x)


def mean_and_std(eps: Tensor, x: Tensor, bar: Tensor, prev: Tensor, eta: float):
    """arXiv 2010.02502, eq. 12 and 16, in alpha-bars."""
    std = eta * ((1 - prev) / (1 - bar) * (1 - bar / prev)).clamp(min=0).sqrt()
    x0 = (x - (1 - bar).sqrt() * eps) / bar.sqrt()
    return prev.sqrt() * x0 + (1 - prev - std**2).clamp(min=0).sqrt() * eps, std


@torch.no_grad()
def invert(model, x0: Tensor, prompt: str, steps=100, w=3.5, eta=1.0, seed=0) -> Maps:
    """arXiv 2304.06140, Alg. 1, for every step, one at a time (an epsilon network)."""
    grid = model.grid(steps)
    bars = grid.alpha**2
    text, null = model.embed([prompt]), model.embed([""])
    noise = stream(seed, "invert")
    drawn = [torch.randn(x0.shape, generator=noise).to(x0) for _ in bars[:-1]]
    x = [b.sqrt() * x0 + (1 - b).sqrt() * e for b, e in zip(bars[:-1], drawn, strict=True)]
    x.append(x0)
    z = []
    for i in range(steps):
        eps = predict(model, x[i], grid.timesteps[i], text, null, w)
        mean, std = mean_and_std(eps, x[i], bars[i], bars[i + 1], eta)
        z.append((x[i + 1] - mean) / std if std > 0 else torch.zeros_like(x0))
        x[i + 1] = mean + std * z[-1]  # Alg. 1's last line: avoids the growth of rounding
    return Maps(torch.stack(x), torch.stack(z))


@torch.no_grad()
def edit(model, maps: Maps, prompt: str, skip=36, w=15.0, eta=1.0) -> Tensor:
    """The reverse process from the level after ``skip`` steps, the maps fixed, another prompt."""
    steps = len(maps.z)
    grid = model.grid(steps)
    bars = grid.alpha**2
    text, null = model.embed([prompt]), model.embed([""])
    x = maps.x[skip]
    for i in range(skip, steps):
        eps = predict(model, x, grid.timesteps[i], text, null, w)
        mean, std = mean_and_std(eps, x, bars[i], bars[i + 1], eta)
        x = mean + std * maps.z[i]
    return x


@contextmanager
def storing(unet, most: int = 32**2) -> Iterator[dict[str, list[Tensor]]]:
    """Attention as the public Prompt-to-Prompt code has it (arXiv 2208.01626).

    Every layer computes its probabilities, without a fused kernel, and every map of at most
    ``most`` queries is kept and summed over the steps, whether anything reads it or not.
    """
    kept: dict[str, list[Tensor]] = {"down": [], "mid": [], "up": []}
    originals = dict(unet.attn_processors)
    unet.set_attn_processor({name: Storing(kept, most, name) for name in originals})
    try:
        yield kept
    finally:
        unet.set_attn_processor(originals)


class Storing:
    """An attention that keeps its maps: the plain product, softmax, product."""

    def __init__(self, kept: dict[str, list[Tensor]], most: int, name: str) -> None:
        self.kept, self.most, self.sum = kept[name.split("_", 1)[0]], most, None

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, *_, **__):
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q = attn.head_to_batch_dim(attn.to_q(hidden_states))
        k = attn.head_to_batch_dim(attn.to_k(context))
        v = attn.head_to_batch_dim(attn.to_v(context))
        p = (torch.einsum("bid,bjd->bij", q, k) * attn.scale).softmax(-1)
        if p.shape[1] <= self.most:
            if self.sum is None:
                self.sum = p.clone()
                self.kept.append(self.sum)
            else:
                self.sum += p
        out = attn.batch_to_head_dim(torch.einsum("bij,bjd->bid", p, v))
        return attn.to_out[1](attn.to_out[0](out))


@torch.no_grad()
def ddim(model, x0: Tensor, source: str, target: str, steps=50, w=7.5) -> Tensor:
    """DDIM inversion at w = 1 and an edit, one timestep at a time (arXiv 2105.05233, app. F)."""
    grid = model.grid(steps)
    bars = grid.alpha**2
    text, null, told = (model.embed([prompt]) for prompt in (source, "", target))
    x = x0
    for i in range(steps - 1, -1, -1):
        t = grid.level(i + 1).t.float()
        eps = model.network(x, t, encoder_hidden_states=text.embedding).sample
        x = mean_and_std(eps, x, bars[i + 1], bars[i], 0.0)[0]
    for i in range(steps):
        eps = predict(model, x, grid.timesteps[i], told, null, w)
        x = mean_and_std(eps, x, bars[i], bars[i + 1], 0.0)[0]
    return x


def null_text(model, x0: Tensor, prompt: str, steps=50, w=7.5, iterations=10, fresh: bool = False):
    """arXiv 2211.09794, Alg. 1, as in the public notebook: batch 1, one Adam a step, and the
    backward pass also through the network's weights, which the notebook never freezes.

    ``fresh``: the text's prediction is made at every iteration and not, as in the notebook, once a
    step; the results are the same. Returns the null embeddings and the state they reconstruct.
    """
    grid = model.grid(steps)
    bars = grid.alpha**2
    text, null = model.embed([prompt]).embedding, model.embed([""]).embedding

    def step(eps, x, bar, prev):
        return mean_and_std(eps, x, bar, prev, 0.0)[0]

    with torch.no_grad():
        path = [x0]
        for i in range(steps - 1, -1, -1):
            told = grid.level(i + 1).t.float()
            eps = model.network(path[-1], told, encoder_hidden_states=text).sample
            path.append(step(eps, path[-1], bars[i + 1], bars[i]))
    path, x, found = path[::-1], path[-1], []
    for i in range(steps):
        null = null.clone().detach().requires_grad_(True)
        adam = torch.optim.Adam([null], lr=1e-2 * (1 - i / 100.0))
        t = grid.timesteps[i]
        conditional = None
        for _ in range(iterations):
            if fresh or conditional is None:
                with torch.no_grad():
                    conditional = model.network(x, t, encoder_hidden_states=text).sample
            unconditional = model.network(x, t, encoder_hidden_states=null).sample
            eps = unconditional + w * (conditional - unconditional)
            loss = torch.nn.functional.mse_loss(step(eps, x, bars[i], bars[i + 1]), path[i + 1])
            adam.zero_grad()
            loss.backward()
            adam.step()
            if loss.item() < 1e-5 + i * 2e-5:
                break
        found.append(null.detach())
        with torch.no_grad():
            unconditional = model.network(x, t, encoder_hidden_states=null).sample
            conditional = model.network(x, t, encoder_hidden_states=text).sample
            eps = unconditional + w * (conditional - unconditional)
            x = step(eps, x, bars[i], bars[i + 1])
    return torch.stack(found), x
