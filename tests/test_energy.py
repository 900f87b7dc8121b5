"""Guidance by gradients: the formula by finite differences, exact inversions, what it refuses."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch

import noisespace as ns
from noisespace.core.gradient_guidance import with_score
from noisespace.errors import InputError
from noisespace.pictures.describe import describe
from noisespace.train.draw import held_out_scene
from tiny import double, tiny_pixels, tiny_sd

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
SOURCE, TARGET = "a photo of a cat", "a photo of a dog"


def redness(pixels, prompts):
    return (pixels[:, 0] - pixels[:, 1:].mean(1)).mean((1, 2))


def contrast(pixels, prompts):
    return pixels.flatten(1).var(1)


@pytest.fixture(scope="module")
def model():
    return ns.from_pipeline(double(tiny_sd()))


@pytest.mark.parametrize("score", [redness, contrast])
def test_the_gradient_is_that_of_finite_differences(model, score):
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    level, text = model.grid(10).level(4), model.embed([SOURCE, TARGET])
    plain = model.denoise(x, level, text)
    guided = with_score(model.denoise, score, model.decode, 3.0)(x, level, text)
    slope = (plain.eps - guided.eps) / (3.0 * float(level.sigma))

    def value(x):
        with torch.no_grad():
            return score(model.decode(model.denoise(x, level, text).x0), text.prompts)

    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        d = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        numeric = (value(x + 1e-5 * d) - value(x - 1e-5 * d)) / 2e-5
        torch.testing.assert_close((slope * d).flatten(1).sum(1), numeric, atol=1e-8, rtol=1e-5)
    back = level.alpha * guided.x0 + level.sigma * guided.eps
    torch.testing.assert_close(back, x, atol=1e-10, rtol=0)


def test_a_guided_gaussian_has_the_shifted_mean():
    """For N(mu, s^2) and the score c x0, the guided noise is that of a prior moved along c."""
    mean, s, c = torch.tensor([1.0, -2.0]).view(2, 1, 1), 0.5, torch.tensor([0.3, 0.7])
    mixture = ns.Mixture({"": mean}, s)
    x = torch.randn(3, 2, 1, 1, generator=torch.Generator().manual_seed(0)).double()
    level, text = mixture.grid(10).level(5), mixture.embed([""] * 3)

    def score(x0, prompts):
        return (x0.flatten(1) * c.to(x0)).sum(1)

    a, sigma = level.alpha, level.sigma
    total = (a * s) ** 2 + sigma**2  # of the marginal of x
    slope = c.double().view(1, 2, 1, 1) * a * s**2 / total  # d x0 / d x, times c
    plain = mixture.denoise(x, level, text)
    guided = with_score(mixture.denoise, score, mixture.decode, 2.0)(x, level, text)
    torch.testing.assert_close(guided.eps, plain.eps - 2.0 * sigma * slope)
    cheap = with_score(mixture.denoise, score, mixture.decode, 2.0, through=False)(x, level, text)
    direct = c.double().view(1, 2, 1, 1).expand_as(x) / a
    torch.testing.assert_close(cheap.eps, plain.eps - 2.0 * sigma * direct)


@pytest.mark.parametrize("method", [ns.EditFriendly(), ns.CycleDiffusion(), ns.EDICT()], ids=repr)
def test_inversions_stay_exact_under_a_score(model, method):
    guided = ns.Guided(model, redness, scale=20.0)
    code = ns.invert(guided, IMAGE, SOURCE, method, steps=6)
    away = ns.reconstruct(guided, code).latents - code.path[-1]
    assert float(away.abs().max()) < 1e-10
    with pytest.raises(InputError, match="was made with the model"):
        ns.reconstruct(model, code)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        other = ns.reconstruct(model, code.with_info(fingerprint="")).latents - code.path[-1]
    assert float(other.abs().max()) > 1e-6
    assert [w for w in said if "left its path" in str(w.message)] or not code.lattice


@pytest.mark.parametrize("through", [True, False])
def test_null_text_is_tuned_under_a_score(model, through):
    guided = ns.Guided(model, redness, scale=5.0, through=through)
    away = []
    for iterations in (0, 4):
        method = ns.NullText(guidance=4.0, iterations=iterations, solver="gauss-newton")
        code = ns.invert(guided, IMAGE, SOURCE, method, steps=6)
        error = ns.reconstruct(guided, code).latents - code.path[-1]
        away.append(float(error.square().mean()))
    assert away[1] < 0.5 * away[0]
    ns.invert(guided, IMAGE, SOURCE, ns.UniTune(iterations=2), steps=6)


@pytest.mark.parametrize("make", [tiny_sd, tiny_pixels])
def test_samples_follow_the_score(make):
    model = ns.from_pipeline(double(make()))
    values = []
    for scale in (-50.0, 0.0, 50.0):
        guided = ns.Guided(model, redness, scale=scale)
        result = ns.sample(guided, steps=8, seed=3)
        values.append(float(redness(model.decode(result.latents), [""])))
    assert values[0] < values[1] < values[2]
    plain = ns.sample(model, steps=8, seed=3).latents
    torch.testing.assert_close(
        ns.sample(ns.Guided(model, redness, 0.0), steps=8, seed=3).latents, plain
    )


@pytest.mark.parametrize(
    "method", [ns.EditFriendly(), ns.DDIM(), ns.EDICT(alternate=False)], ids=repr
)
@pytest.mark.parametrize("through", [True, False])
def test_edits_follow_the_score_and_the_source_does_not(model, method, through):
    code = ns.invert(model, IMAGE, SOURCE, method, steps=6)
    source = ns.reconstruct(model, code).latents[0]
    values = []
    for scale in (0.0, 20.0):
        editor = ns.ScoreGuidance(redness, scale, through=through)
        run = ns.edit_steps(model, code, TARGET, editor=editor, guidance=3.0)
        rows = [preview.step for preview in run][-1].x[0]
        torch.testing.assert_close(rows[0], source, atol=1e-10, rtol=0)
        values.append(float(redness(model.decode(rows[1:]), [TARGET])))
        assert "test_energy.redness" in run.result.record["editor"]
    plain = ns.edit(model, code, TARGET, guidance=3.0).latents
    assert values[0] == pytest.approx(float(redness(model.decode(plain), [TARGET])), abs=1e-10)
    assert values[1] > values[0]


@pytest.mark.parametrize("method", [ns.EditFriendly(), ns.DDIM(), ns.EDICT()], ids=repr)
def test_edits_of_a_trained_network_get_redder(method):
    model, scene = ns.load("scenes", device="cpu"), held_out_scene(0)
    code = ns.invert(model, scene, scene.caption, method, steps=10)
    values = []
    for scale in (-20.0, 0.0, 20.0):
        editor = ns.ScoreGuidance(redness, scale)
        latents = ns.edit(model, code, scene.caption, editor=editor).latents
        values.append(float(redness(model.decode(latents), [""])))
    assert values[0] < values[1] < values[2]


BAD = [
    (3.0, "must be a function"),
    (lambda pixels, prompts: pixels.mean(), "one number a picture"),
    (lambda pixels, prompts: pixels.detach().mean((1, 2, 3)), "not differentiable"),
    (lambda pixels, prompts: (pixels > 0).double().mean((1, 2, 3)), "not differentiable"),
]


@pytest.mark.parametrize(("score", "words"), BAD, ids=["text", "shape", "detached", "rounded"])
def test_bad_scores(model, score, words, monkeypatch):
    code = ns.invert(model, IMAGE, SOURCE, steps=4)
    monkeypatch.setattr(type(model), "denoise", None)  # no network runs
    with pytest.raises(InputError, match=words):
        ns.edit(model, code, TARGET, editor=ns.ScoreGuidance(score))
    with pytest.raises(InputError, match=words):
        ns.Guided(model, score)


class Sum:
    """A callable object: its address must not get into a record."""

    def __call__(self, pixels, prompts):
        return pixels.sum((1, 2, 3))


def weighted(pixels, prompts, weight=1.0):
    return weight * pixels.sum((1, 2, 3))


def test_records_and_fingerprints_tell_scores_apart(model):
    pairs = [
        (Sum(), Sum(), True),
        (partial(weighted, weight=2.0), partial(weighted, weight=2.0), True),
        (partial(weighted, weight=2.0), partial(weighted, weight=3.0), False),
        (lambda x, p: x.sum((1, 2, 3)), lambda x, p: -x.sum((1, 2, 3)), False),
    ]
    for a, b, same in pairs:
        assert " at 0x" not in describe(ns.ScoreGuidance(a))
        assert (ns.Guided(model, a).fingerprint == ns.Guided(model, b).fingerprint) == same


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), "a", True])
def test_scales_are_finite_numbers(model, scale):
    code = ns.invert(model, IMAGE, SOURCE, steps=4)
    with pytest.raises(InputError, match="scale must be a finite number"):
        ns.edit(model, code, TARGET, editor=ns.ScoreGuidance(redness, scale))
    with pytest.raises(InputError, match="scale must be a finite number"):
        ns.Guided(model, redness, scale)


def test_a_score_that_fails_is_said(model):
    with pytest.raises(InputError, match="the score failed on"):
        ns.Guided(model, lambda pixels: pixels.sum((1, 2, 3)))


def test_a_gradient_that_is_no_number_is_said(model):
    code = ns.invert(model, IMAGE, SOURCE, steps=4)

    def broken(pixels, prompts):
        return (pixels.flatten(1) * 0).sum(1).sqrt()

    with pytest.raises(InputError, match="gradient of the score is not finite"):
        ns.edit(model, code, TARGET, editor=ns.ScoreGuidance(broken))
