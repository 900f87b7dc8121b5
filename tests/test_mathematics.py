"""Values that were wrong once, each beside the formula that it has to follow."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import noisespace as ns
from noisespace.core.condition import Condition
from noisespace.core.controls import Controls, HookContext
from noisespace.core.grid import Grid
from noisespace.core.guidance import Guidance, with_guidance
from noisespace.core.replay import EditPlan, replay
from noisespace.core.rows import Rows, fresh_noise
from noisespace.core.steps import Ancestral, Edict
from noisespace.core.streams import stream
from noisespace.editing import EditContext
from noisespace.inversion import noise_regularisation
from noisespace.inversion.problem import Problem
from noisespace.models.base import ModelWrapper
from noisespace.models.pipeline import fingerprint
from tiny import double, tiny_sd

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
SOURCE, TARGET = "a photo of a cat", "a photo of a dog"


@pytest.fixture(scope="module")
def model():
    return ns.from_pipeline(double(tiny_sd()))


def state(seed=0, rows=1):
    return torch.randn(rows, 4, 8, 8, generator=torch.Generator().manual_seed(seed)).double()


def redness(pixels, prompts):
    return pixels[:, 0].mean((1, 2))


# ---- guidance


def test_a_score_guides_after_the_prompt_once(model):
    """eps_null + w (eps_text - eps_null) - scale sigma grad, the gradient through all of it."""
    w, scale, level = 4.0, 30.0, model.grid(10).level(4)
    text, null, x = model.embed([TARGET]), model.embed([""]), state()
    own = ns.Guided(model, redness, scale)
    cfg = with_guidance(own.denoise, null, torch.tensor([w]))
    found = own.guide(cfg)(x, level, text)
    with torch.enable_grad():
        at = x.clone().requires_grad_()
        plain = with_guidance(model.denoise, null, torch.tensor([w]))(at, level, text)
        (slope,) = torch.autograd.grad(redness(model.decode(plain.x0), [TARGET]).sum(), at)
    expected = plain.eps.detach() - scale * level.sigma * slope
    torch.testing.assert_close(found.eps, expected, atol=1e-12, rtol=0)
    edit = ns.edit(own, ns.invert(own, IMAGE, SOURCE, steps=4), TARGET, guidance=w).latents
    inside = Inside(model, redness, scale)  # the old order is another edit
    code = ns.invert(inside, IMAGE, SOURCE, steps=4)
    assert (ns.edit(inside, code, TARGET, guidance=w).latents - edit).abs().max() > 1e-4


class Inside(ns.Guided):
    """A score inside the prompt's guidance: taken at the null text too, weighted by 1 - w."""

    def denoise(self, x, level, condition, hooks=None):
        return super().guide(self.model.denoise)(x, level, condition, hooks)

    def guide(self, with_guidance):
        return with_guidance


def test_what_is_added_to_the_noise_keeps_the_pull_of_proximal_guidance(model):
    """Concepts and scores move both views; the pulled x0 stays pulled."""
    code = ns.invert(model, IMAGE, SOURCE, ns.ProxNPI(pull=1.0, below=1000), steps=6)
    concept = ns.Concepts((ns.Concept("grass", 0.0),))  # acts by nothing
    for editor in (concept, ns.ScoreGuidance(redness, scale=1e-12)):
        plain = ns.edit(model, code, TARGET, guidance=3.0).latents
        under = ns.edit(model, code, TARGET, guidance=3.0, editor=editor).latents
        torch.testing.assert_close(under, plain, atol=1e-8, rtol=0)
    unpulled = replace(code, rule=replace(code.rule, pull=0.0))
    assert (ns.edit(model, unpulled, TARGET, guidance=3.0).latents - plain).abs().max() > 1e-3


def test_prox_npi_is_the_authors(model):
    """ "l0" of their code, written for a batch of a source's and a target's row."""
    q, w, lr = 0.7, 5.0, 0.3
    text, null, x0 = state(1, 2), state(2, 2), state(3)
    null[0] = text[0]  # the source under its own prompt as null text
    delta = text - null
    threshold = delta.abs().quantile(q)
    delta = delta - delta.clamp(-threshold, threshold)
    rule = Guidance("proximal", q, pull=lr, below=400)
    mixed = null + w * (rule.nearest(null, text) - null)  # as affine mixes what is left
    torch.testing.assert_close(mixed[1], (null + w * delta)[1], atol=2e-2, rtol=0)
    edited = (delta[1:].abs() > threshold).double()
    kept = 1 - nn.functional.max_pool2d(edited, 3, 1, 1)
    start = state(4)
    level = Grid.from_config(dict(ns.Mixture({"": x0}).scheduler), 10).level(8)
    assert float(level.t) < 400
    pulled = rule.pull_to(start, (text - null)[1:], x0, level)
    away = (pulled - (start - lr * kept * (start - x0))).abs()
    assert float((away > 1e-9).double().mean()) < 0.02  # at most the entry next to the quantile


# ---- noise


def test_targets_get_fresh_noise_where_the_source_alone_is_corrected(model):
    """At eta > 0 without a source row; the two streams of one seed differ."""
    code = ns.invert(model, IMAGE, SOURCE, ns.Direct(), steps=6)
    noisy = replace(code, step=Ancestral(0.8, "source"))
    edits = [ns.edit(model, noisy, TARGET, guidance=1.0, seed=seed).latents for seed in (0, 1, 0)]
    assert (edits[0] - edits[1]).abs().max() > 0.1
    assert torch.equal(edits[0], edits[2])


def test_streams_of_a_seed_differ_by_purpose(model):
    drawn = {p: torch.randn(64, generator=stream(7, p)) for p in ("invert", "sample", "replay")}
    for a in drawn:
        for b in drawn:
            assert a == b or torch.corrcoef(torch.stack([drawn[a], drawn[b]]))[0, 1].abs() < 0.5
    assert torch.equal(drawn["sample"], torch.randn(64, generator=torch.Generator().manual_seed(7)))
    code = ns.invert(model, IMAGE, SOURCE, ns.SDEdit(strength=0.8, eta=1.0), steps=5, seed=3)
    start = (code.path[0] - code.grid.alpha[1] * code.path[-1]) / code.grid.sigma[1]
    fresh = fresh_noise(code.path, [stream(3, "replay")])(0)
    both = torch.stack([start.flatten(), fresh.flatten()])
    assert torch.corrcoef(both)[0, 1].abs() < 0.2  # 1.0 once


def test_noise_is_never_compared_with_itself():
    """A shift by 0 is no correlation; the authors' shifts begin at 1."""
    seen = []

    class Looking(torch.Tensor):
        def roll(self, by, axis):
            seen.append(by)
            return super().roll(by, axis)

    x = torch.randn(1, 1, 8, 8).as_subclass(Looking)
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        noise_regularisation.autocorrelation(x, [generator])
    assert set(seen) == {1, 2, 3}


# ---- tuned embeddings


class Telling(ModelWrapper):
    """A model that remembers the timesteps at which gradients were asked for."""

    def __init__(self, model):
        object.__setattr__(self, "model", model)
        object.__setattr__(self, "told", [])

    def denoise(self, x, level, condition, hooks=None):
        if torch.is_grad_enabled() and condition.embedding.requires_grad:
            self.told.append(level.t.flatten().tolist())
        return self.model.denoise(x, level, condition, hooks)


def test_one_embedding_for_all_steps_is_tuned_on_steps_at_random(model):
    """arXiv 2208.01618; in order it would end tuned to the cleanest ones."""
    told = Telling(model)
    method = ns.NullText(share="global", pivot="none", iterations=4, guidance=3.0)
    code = ns.invert(told, [IMAGE, IMAGE], SOURCE, method, steps=10, seed=[0, 1])
    each = [t for t in told.told if len(t) == 2]  # without the trial of the memory
    first, second = (torch.tensor([t[i] for t in each]) for i in range(2))
    assert len(first) == 40
    assert len(set(first.tolist())) > 6
    assert abs(float(torch.corrcoef(torch.stack([first, torch.arange(40.0)]))[0, 1])) < 0.5
    assert not torch.equal(first, second)  # each image its own
    alone = ns.invert(model, IMAGE, SOURCE, method, steps=10, seed=1)
    torch.testing.assert_close(alone.null[:, 0], code.null[:, 1], atol=1e-9, rtol=0)


def test_the_published_algorithm_is_the_default():
    assert ns.NullText().solver == ns.PromptTuning().solver == "adam"


# ---- other algorithms


def test_edict_alternates_the_order_of_updates_alone():
    """The authors' loop (arXiv 2211.12446): the mixing is the same at every step."""
    mixture = ns.Mixture({"": torch.tensor([1.0, -2.0]).double().view(2, 1, 1)}, 0.5)
    grid, null, p = mixture.grid(5), mixture.embed([""]), 0.93
    x, y = torch.tensor([[0.7, -0.4], [0.1, 0.9]]).double().view(2, 1, 2, 1, 1)
    code = ns.invert(mixture, x, "", ns.EDICT(), steps=5, guidance=1.0)
    code = replace(code, path=x.expand(6, *x.shape), step=Edict(p, "order"), kept={"twin": y[None]})
    *_, last = replay(EditPlan(mixture, code, Rows.of((null, None), null, (1.0, 1.0), True)))
    pair = [x, y]
    for i in range(5):
        at, to = grid.level(i), grid.level(i + 1)
        for j in (0, 1) if i % 2 == 0 else (1, 0):
            eps = mixture.denoise(pair[1 - j], at, null).eps
            clean = (pair[j] - at.sigma * eps) / at.alpha
            pair[j] = to.alpha * clean + to.sigma * eps
        pair[0] = p * pair[0] + (1 - p) * pair[1]
        pair[1] = p * pair[1] + (1 - p) * pair[0]
    torch.testing.assert_close(last.x[:, 0], pair[0], atol=1e-12, rtol=0)


def test_pix2pix_zero_goes_on_from_the_null_texts_copy(model):
    """The authors' step: maps of both guides averaged, the gradient by the null text's copy."""
    code = ns.invert(model, IMAGE, SOURCE, ns.DDIM(), steps=4)
    x, amount = code.path[0], 50.0

    def maps(states, condition):
        seen = []

        def probs(step, site, p):
            seen.append(p.flatten(0, 2))  # (guide, head, query, token)
            return p

        hooks = HookContext(Controls(probs=probs, reads=lambda _, s: s.kind == "cross"), 0, 1, 1)
        model.denoise(states, code.grid.level(0), condition, hooks)
        return [p.flatten(0, 1) for p in seen]

    both = {name: model.embed(["", p]) for name, p in (("source", SOURCE), ("target", TARGET))}
    wanted = [m.detach() for m in maps(x.repeat(2, 1, 1, 1), both["source"])]
    with torch.enable_grad():
        pair = x.repeat(2, 1, 1, 1).requires_grad_()
        loss = sum(
            ((a - b) ** 2).sum((1, 2)).mean(0)
            for a, b in zip(maps(pair, both["target"]), wanted, strict=True)
        )
        (slope,) = torch.autograd.grad(loss, pair)
    texts = model.embed([SOURCE]), model.embed([TARGET])
    shifted = x + 0.1 * state(5)  # under the null text alone equal states have equal maps
    context = EditContext(model, code, *texts, model.embed([""]), (1.0, 3.0))
    before = ns.Pix2PixZero(amount=amount).controls(context).before
    moved = before(0, torch.stack([x, x], 1))[:, 1]
    torch.testing.assert_close(moved, (x - amount * slope[:1]), atol=1e-10, rtol=0)
    own = ns.Pix2PixZero(amount=amount, maps="text").controls(context).before
    assert (own(0, torch.stack([x, x], 1))[:, 1] - moved).abs().max() > 1e-6
    assert (before(0, torch.stack([x, shifted], 1))[:, 1] - shifted).abs().max() > 1e-6


class Lora(nn.Linear):
    """What PEFT makes of a layer, as far as a scale goes."""

    def __init__(self):
        super().__init__(2, 2)
        self.lora_A, self.disable_adapters = nn.ModuleDict({"style": nn.Linear(2, 1)}), False
        self.active_adapters, self.scaling = ["style"], {"style": 1.0}


def test_an_adapter_at_another_scale_is_another_model():
    layer = Lora()
    prints = [fingerprint({"unet": nn.Sequential(layer)}, {})]
    layer.scaling["style"] = 0.5
    prints.append(fingerprint({"unet": nn.Sequential(layer)}, {}))
    layer.disable_adapters = True
    prints.append(fingerprint({"unet": nn.Sequential(layer)}, {}))
    layer.scaling["style"] = 0.1  # an adapter that is off has no scale
    prints.append(fingerprint({"unet": nn.Sequential(layer)}, {}))
    assert len(set(prints)) == 3
    assert prints[2] == prints[3]


def test_a_condition_carries_what_else_a_network_is_told():
    """Pooled embeddings, masks and guidance go with their rows; the text alone is exchanged."""
    tensors = {"text": torch.randn(3, 4, 2), "pooled": torch.randn(3, 5), "guidance": torch.ones(3)}
    condition = Condition(tensors, ("a", "b", "c"), (("a",), ("b",), ("c",)))
    some = condition.rows([2, 0]).cat(condition.rows(torch.tensor([1])))
    assert some.prompts == ("c", "a", "b")
    torch.testing.assert_close(some.tensors["pooled"], tensors["pooled"][[2, 0, 1]])
    other = some.with_text(torch.zeros(3, 4, 2))
    assert not other.embedding.any()
    assert other.tensors["pooled"] is some.tensors["pooled"]


def test_problem_noises_to_every_level():
    mixture = ns.Mixture({"": torch.zeros(2, 1, 1).double()})
    grid, x0 = mixture.grid(4), torch.ones(1, 2, 1, 1).double()
    null = mixture.embed([""])
    problem = Problem(mixture, grid, x0, null, null, 1.0, [stream(0, "invert")])
    states = problem.noise_to_levels(1, torch.full((3, 1, 2, 1, 1), 2.0).double())
    expected = grid.alpha[1:4] + 2 * grid.sigma[1:4]
    torch.testing.assert_close(states[:3, 0, 0, 0, 0], expected)
    assert torch.equal(states[3], x0)
