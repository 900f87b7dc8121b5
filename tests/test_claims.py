"""Claims of the papers on the embedded model; the figures are in docs/scenes.md."""

import itertools
import random

import numpy as np
import pytest
import torch

import noisespace as ns
from noisespace.models.loading import EMBEDDED
from noisespace.train.draw import random_scene

pytestmark = pytest.mark.skipif(
    not (EMBEDDED["scenes"] / "model_index.json").exists(), reason="scenes is not trained yet"
)


@pytest.fixture(scope="module")
def model():
    return ns.load("scenes", device="cpu")


@pytest.fixture(scope="module")
def scenes():
    rng = random.Random("claims")
    return [random_scene(rng, objects=1) for _ in range(4)]


def invert(model, scenes, method, **options):
    return ns.invert(model, scenes, [s.caption for s in scenes], method, **options)


def away(model, code, **options):
    return float((ns.reconstruct(model, code, **options).latents - code.path[-1]).abs().max())


@pytest.mark.parametrize("method", [ns.EditFriendly(), ns.CycleDiffusion(), ns.Direct()], ids=repr)
def test_exact_in_float32_at_the_defaults(model, scenes, method):
    """C8: a real replay of the frozen residual, at the published settings."""
    published = method.defaults
    code = invert(model, scenes, method, guidance=published.invert, steps=published.steps)
    assert away(model, code) < 1e-4


def test_ddim_error_falls_with_the_steps_and_grows_with_guidance(model, scenes):
    """C1, C2: root mean square error of the latents, mean over the scenes."""

    def error(code, w):
        apart = ns.reconstruct(model, code, guidance=w).latents - code.path[-1]
        return float(apart.square().mean((1, 2, 3)).sqrt().mean())

    codes = {n: invert(model, scenes, ns.DDIM(), steps=n) for n in (25, 100)}
    few, many = (error(codes[n], 1.0) for n in (25, 100))
    assert many < 0.5 * few
    assert error(codes[25], 7.5) > 3 * few
    assert error(codes[100], 7.5) > 10 * many


@pytest.mark.parametrize("std", [0.1, 0.3, 1.0])
def test_with_few_steps_ddim_samples_better_than_ddpm(std):
    """C3: Frechet distance of samples to N(0, std^2 I), whose score is exact."""
    gaussian = ns.Mixture({"": torch.zeros(3, 16, 16)}, std=std)

    def distance(steps, eta):
        x = ns.sample(
            gaussian, [""] * 8, size=16, steps=steps, guidance=1.0, eta=eta, seed=list(range(8))
        ).latents
        return float(x.mean()) ** 2 + (float(x.std()) - std) ** 2

    for steps in (10, 20, 50, 100):
        assert distance(steps, 0.0) < 0.9 * distance(steps, 1.0)
    gap = abs(distance(1000, 1.0) ** 0.5 - distance(1000, 0.0) ** 0.5)
    assert gap < 0.25 * abs(distance(10, 1.0) ** 0.5 - distance(10, 0.0) ** 0.5) + 0.03 * std


def test_maps_are_larger_and_opposed(model, scenes):
    """C9: variance above native maps' (1), successive maps correlated by about -.5."""
    figures = {}
    for name, method in (("ef", ns.EditFriendly(skip=0)), ("native", ns.CycleDiffusion(0, 1.0))):
        z = invert(model, scenes[:2], method, steps=50, guidance=1.0).noise_maps()[5:45]
        pairs = [np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in itertools.pairwise(z)]
        figures[name] = (float(z.var()), float(np.mean(pairs)))
    assert figures["ef"][0] > 3 * figures["native"][0], figures
    assert figures["ef"][1] < -0.3, figures
    assert abs(figures["native"][1]) < 0.1, figures


def test_fixed_maps_keep_the_structure(model, scenes):
    """C12: another prompt over the same maps; native maps lose what edit-friendly ones keep."""
    targets = [
        s.edited(background=next(c for c in ("green", "pink", "cyan") if c not in str(s)))
        for s in scenes
    ]
    masks = [s.mask() > 0.5 for s in scenes]
    kept = {}
    for name, method in (("ef", ns.EditFriendly()), ("native", ns.SDEdit(strength=1.0, eta=1.0))):
        code = invert(model, scenes, method, steps=50, guidance=1.0)
        images = ns.edit(model, code, [t.caption for t in targets], guidance=2.0).images
        errors = [
            np.abs(np.asarray(a, float) - b.render())[m].mean()
            for a, b, m in zip(images, scenes, masks, strict=True)
        ]
        kept[name] = float(np.mean(errors))
    assert kept["ef"] < 0.7 * kept["native"], kept


def test_results_do_not_depend_on_the_batch(scenes):
    model = ns.load("scenes", dtype="float64", device="cpu")  # an edit amplifies what is rounded
    both = invert(model, scenes, ns.EditFriendly(), steps=20)
    edits = ns.edit(model, both, [s.edited(texture="striped").caption for s in scenes])
    alone = ns.invert(model, scenes[2], scenes[2].caption, steps=20)
    edit = ns.edit(model, alone, scenes[2].edited(texture="striped").caption)
    torch.testing.assert_close(edit.latents[0], edits.latents[2], atol=1e-9, rtol=0)
