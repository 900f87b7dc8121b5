"""Reconstruction is a real replay, exact where the mathematics is; and each check can fail."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import noisespace as ns
from choices import EVERY_INVERSION
from noisespace.core.replay import EditPlan, replay
from noisespace.core.rows import Rows
from noisespace.errors import InputError
from tiny import double, tiny_pixels, tiny_sd

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
PROMPT, OTHER = "a photo of a cat", "a photo of a dog"
ALL_INVERSIONS = [  # every one of the list, and some of them otherwise
    *EVERY_INVERSION,
    ns.DDIM(told="upper", stop=0.5),
    ns.FixedPoint(iterations=3, average=True),
    ns.EditFriendly(live=True),
    ns.ProxNPI(mode="soft"),
    ns.Direct(live=True),
    ns.SDEdit(eta=1.0),
    ns.NullText(guidance=3.0, iterations=1, share="global", pivot="random"),
    ns.EDICT(alternate=True, strength=1.0),
]
EXACT = [
    make(skip=skip, eta=eta)
    for make in (ns.EditFriendly, ns.CycleDiffusion)
    for skip in (0, 0.36)
    for eta in (0.3, 1.0)
] + [ns.Direct(), ns.EDICT(), ns.EDICT(alternate=True), ns.BELM()]


@pytest.fixture(scope="module")
def model():
    return ns.from_pipeline(double(tiny_sd()))


@pytest.fixture(scope="module")
def other_model():
    return ns.from_pipeline(double(tiny_sd(seed=1)))


def away(model, code, **options) -> float:
    return float((ns.reconstruct(model, code, **options).latents - code.path[-1]).abs().max())


@pytest.mark.parametrize("w", [3.5, 15.0])
@pytest.mark.parametrize("method", EXACT, ids=repr)
def test_exact_reconstruction(model, method, w):
    code = ns.invert(model, IMAGE, PROMPT, method, steps=12, guidance=w)
    assert away(model, code) < 1e-10


@pytest.mark.parametrize("method", [ns.EditFriendly(), ns.CycleDiffusion(), ns.Direct()], ids=repr)
def test_exactness_can_fail(model, other_model, method):
    code = ns.invert(model, IMAGE, PROMPT, method, steps=12, guidance=3.5)
    with pytest.warns(UserWarning, match="left its path at step 1"):
        assert away(model, code.with_info(prompts=(OTHER,))) > 1e-6
    with pytest.warns(UserWarning, match="left its path at step 1"):
        assert away(other_model, code.with_info(fingerprint="")) > 1e-6
    with pytest.warns(UserWarning, match="left its path at step 1"):
        assert away(model, replace(code, residual=torch.zeros_like(code.residual))) > 1e-3
    assert away(model, code, guidance=4.0) > 1e-6


@pytest.mark.parametrize("method", ALL_INVERSIONS, ids=repr)
def test_every_inversion_edits(model, method):
    code = ns.invert(model, IMAGE, PROMPT, method, steps=5)
    result = ns.edit(model, code, [OTHER, "a horse"], guidance=3.0)
    assert len(result.images) == 2
    assert result.latents.shape == (2, 4, 8, 8)
    assert result.reconstruction.size == (32, 32)
    assert not torch.equal(result.latents[0], result.latents[1])
    again = ns.edit(model, code, [OTHER, "a horse"], guidance=3.0)
    assert torch.equal(result.latents, again.latents)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("make", [ns.EditFriendly, ns.CycleDiffusion, ns.Direct])
def test_live_keeps_the_source_row_on_its_path(make, dtype):
    pipe = tiny_sd()
    for part in (pipe.unet, pipe.vae, pipe.text_encoder):
        torch.nn.Module.to(part, dtype)
    model = ns.from_pipeline(pipe)
    code = ns.invert(model, IMAGE, PROMPT, make(live=True), steps=8, guidance=3.5)
    text, null, target = (model.embed([p]) for p in (PROMPT, "", OTHER))
    rows = Rows.of((text, target), null, (3.5, 7.5), True)
    with torch.no_grad():
        for k, step in enumerate(replay(EditPlan(model, code, rows))):
            assert torch.equal(step.x[:, 0], code.path[k + 1])
    assert not torch.equal(step.x[:, 1], code.path[-1])


@pytest.mark.parametrize("make", [ns.EditFriendly, ns.CycleDiffusion, ns.Direct])
def test_freeze_gives_the_frozen_inversion(model, make):
    live = ns.invert(model, IMAGE, PROMPT, make(live=True), steps=8)
    frozen = ns.invert(model, IMAGE, PROMPT, make(), steps=8)
    assert live.residual is None
    torch.testing.assert_close(ns.freeze(model, live).residual, frozen.residual)
    with pytest.raises(InputError, match="freeze"):
        live.noise_maps()
    a = ns.edit(model, live, OTHER, guidance=3.0).latents
    b = ns.edit(model, frozen, OTHER, guidance=3.0).latents
    torch.testing.assert_close(a, b, atol=1e-9, rtol=0)


def test_negative_prompt_is_ddim_at_one(model):
    plain = ns.invert(model, IMAGE, PROMPT, ns.DDIM(), steps=10)
    negative = ns.invert(model, IMAGE, PROMPT, ns.NegativePrompt(), steps=10)
    torch.testing.assert_close(plain.path, negative.path)
    at_one = ns.reconstruct(model, plain).latents
    for w in (1.0, 3.0, 7.5):
        guided = ns.reconstruct(model, negative, guidance=w).latents
        torch.testing.assert_close(guided, at_one, atol=1e-9, rtol=0)
    assert not torch.allclose(ns.reconstruct(model, plain, guidance=7.5).latents, at_one)


def test_fixed_point_inverts_the_discrete_step():
    model = ns.Mixture({"a": torch.full((2, 1, 1), 3.0), "b": torch.zeros(2, 1, 1)})
    x0 = torch.tensor([1.0, -2.0], dtype=torch.float64).view(1, 2, 1, 1)
    errors = [
        away(model, ns.invert(model, x0, "", ns.FixedPoint(iterations=k), steps=50))
        for k in (1, 3, 30)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-9


@pytest.mark.parametrize("told", ["lower", "upper"])
def test_ddim_round_trip_has_order_one(told):
    """C1: at w = 1 the error falls linearly with the step; near-exact at 1000 steps."""
    model = ns.Mixture({"a": torch.full((2, 1, 1), 2.0), "b": torch.full((2, 1, 1), -1.0)})
    x0 = torch.randn(16, 2, 1, 1, generator=torch.Generator().manual_seed(0)).double()
    counts = (100, 200, 500, 1000)
    errors = []
    for steps in counts:
        code = ns.invert(model, x0, "", ns.DDIM(told=told), steps=steps)
        errors.append(float((ns.reconstruct(model, code).latents - x0).norm()))
    slope = np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert abs(-slope - 1) <= 0.15, (errors, slope)
    assert errors[-1] < 0.01 * float(x0.norm())


def test_guidance_spoils_ddim(model):
    """C2: the code of w = 1 replayed at w = 7.5 reconstructs badly."""
    code = ns.invert(model, IMAGE, PROMPT, ns.DDIM(), steps=20)
    assert away(model, code, guidance=7.5) > 2 * away(model, code)


def test_edit_friendly_maps_of_the_gaussian():
    """C9: larger variance than native maps, successive ones opposed; N((10,10), I), 40 steps."""
    model = ns.Mixture({"": torch.full((2, 1, 1), 10.0)})
    x0 = 10 + torch.randn(500, 2, 1, 1, generator=torch.Generator().manual_seed(1)).double()
    cosines, spreads = {}, {}
    for name, method in (("ef", ns.EditFriendly(skip=0)), ("native", ns.CycleDiffusion(0, 1.0))):
        code = ns.invert(model, x0, "", method, steps=40, guidance=1.0, seed=list(range(len(x0))))
        z = code.noise_maps()[:-1, :, :, 0, 0]
        cosines[name] = torch.cosine_similarity(z[5:-1], z[6:], dim=-1)
        spreads[name] = float(z[5:].var())
    # above 1: q(x_-|x, x0) knows x0, which the network's mean averages over
    assert spreads["ef"] > 1.5 * spreads["native"], spreads
    assert abs(float(cosines["native"].mean())) < 0.05
    assert float(cosines["ef"].mean()) < -0.3
    angles = torch.rad2deg(torch.acos(cosines["ef"].clamp(-1, 1)))
    counts = torch.histc(angles, 6, 0, 180)
    assert int(counts.argmax()) == 5  # the peak is at 180 degrees
    flat = torch.histc(torch.rad2deg(torch.acos(cosines["native"].clamp(-1, 1))), 6, 0, 180)
    assert float(flat.max() / flat.min()) < 1.2


def test_results_do_not_depend_on_the_batch(model):
    images = [IMAGE, 255 - IMAGE, IMAGE[::-1].copy()]
    prompts = [PROMPT, OTHER, "a horse"]
    both = ns.invert(model, images, prompts, steps=8, seed=[3, 4, 5])
    edits = ns.edit(model, both, [["a tiger", "a horse"], ["a dog", "a cat"], ["a cat", "a dog"]])
    for i in range(3):
        alone = ns.invert(model, images[i], prompts[i], steps=8, seed=3 + i)
        torch.testing.assert_close(alone.residual[:, 0], both.residual[:, i], atol=1e-9, rtol=0)
    alone = ns.edit(model, ns.invert(model, images[1], OTHER, steps=8, seed=4), "a cat")
    torch.testing.assert_close(alone.latents[0], edits.latents[3], atol=1e-8, rtol=0)
    assert [p["source"] for p in edits.record["pictures"]] == [0, 0, 1, 1, 2, 2]


def test_unequal_numbers_of_prompts(model):
    code = ns.invert(model, [IMAGE, 255 - IMAGE], PROMPT, steps=5)
    result = ns.edit(model, code, ["a dog", ["a horse", "a tiger"]])
    assert [p["prompt"] for p in result.record["pictures"]] == ["a dog", "a horse", "a tiger"]
    assert len(result.latents) == 3


def test_pictures_come_back_at_their_size(model):
    wide = np.zeros((40, 70, 3), np.uint8)
    code = ns.invert(model, wide, PROMPT, steps=4)
    assert code.path.shape[-2:] == (8, 14)
    assert ns.edit(model, code, OTHER).images[0].size == (70, 40)


def test_mask_keeps_the_outside(model):
    code = ns.invert(model, IMAGE, PROMPT, steps=8)
    mask = np.zeros((32, 32), bool)
    mask[:, 16:] = True
    x = ns.edit(model, code, OTHER, guidance=7.5, mask=mask).latents
    torch.testing.assert_close(x[..., :4], code.path[-1][..., :4], atol=1e-9, rtol=0)
    assert float((x - code.path[-1])[..., 4:].abs().max()) > 1e-3


def test_unconditional_pixels():
    model = ns.from_pipeline(double(tiny_pixels()))
    image = IMAGE[:16, :16]
    code = ns.invert(model, image, steps=10)
    assert away(model, code) < 1e-9
    assert code.guidance == 1.0
    with pytest.raises(InputError, match="no prompt"):
        ns.edit(model, code, "a dog")
    with pytest.raises(InputError, match="unconditional"):
        ns.sample(model, guidance=3.0)


def test_steps_come_one_by_one_and_can_be_cancelled(model):
    code = ns.invert(model, IMAGE, PROMPT, steps=5)
    run = ns.edit_steps(model, code, OTHER)
    first = next(iter(run))
    assert (first.index, first.preview()[0].size) == (0, (32, 32))
    run.close()
    assert list(run) == []
    with pytest.raises(InputError, match="no result"):
        _ = run.result


BAD = [
    ({"method": ns.EditFriendly(eta=0.0)}, "eta"),
    ({"method": ns.EditFriendly(eta=1.5)}, "eta"),
    ({"method": ns.EditFriendly(skip=8)}, "skip"),
    ({"method": ns.EditFriendly(skip=0.99)}, "skip"),
    ({"method": ns.DDIM(told="both")}, "told"),
    ({"method": ns.DDIM(stop=0)}, "stop"),
    ({"method": ns.SDEdit(strength=0.0)}, "strength"),
    ({"method": ns.ProxNPI(quantile=2.0)}, "quantile"),
    ({"method": "ddim"}, "method"),
    ({"steps": 0}, "steps"),
    ({"guidance": "high"}, "guidance"),
    ({"guidance": float("nan")}, "guidance"),
    ({"seed": 1.5}, "seed"),
    ({"prompt": ["a", "b"]}, "prompt"),
    ({"size": 13}, "size"),
]


@pytest.mark.parametrize(("options", "word"), BAD, ids=str)
def test_bad_input_is_refused_before_the_network(model, options, word):
    def never(*_, **__):
        raise AssertionError("the network ran")

    guarded = replace(model, network=model.network)
    object.__setattr__(guarded, "denoise", never)
    options = {"image": IMAGE, "prompt": PROMPT, "steps": 8, **options}
    with pytest.raises(InputError, match=word) as caught:
        ns.invert(guarded, **options)
    assert "\n" not in str(caught.value)


def test_nan_from_the_network_is_said(model):
    code = ns.invert(model, IMAGE, PROMPT, steps=5)
    broken = replace(code, residual=code.residual * float("nan"))
    with pytest.raises(InputError, match="NaN"):
        ns.edit(model, broken, OTHER)


@pytest.mark.parametrize("make", [ns.EditFriendly, ns.CycleDiffusion, ns.DDIM, ns.FixedPoint])
def test_a_network_that_returns_nan_is_refused_at_once(model, make):
    calls = []

    def broken(x, level, text, controls=None):
        calls.append(len(x))
        good = type(model).denoise(model, x, level, text, controls)
        return replace(good, eps=good.eps * float("nan"), x0=good.x0 * float("nan"))

    bad = replace(model)
    object.__setattr__(bad, "denoise", broken)
    with pytest.raises(InputError, match=r"NaN.*float32"):
        ns.invert(bad, IMAGE, PROMPT, make(), steps=5)
    assert len(calls) <= 5
    sampled = replace(model)
    object.__setattr__(sampled, "denoise", broken)
    calls.clear()
    with pytest.raises(InputError, match="NaN"):
        ns.sample(sampled, PROMPT, steps=5)
    assert len(calls) == 1


@pytest.mark.parametrize("mode", ["hard", "soft"])
def test_proximal_guidance_lies_between_none_and_all(model, mode):
    """ProxNPI: quantile 0 is NPI (hard), quantile 1 no guidance; reconstruction is DDIM's."""
    plain = ns.reconstruct(model, ns.invert(model, IMAGE, PROMPT, ns.DDIM(), steps=8)).latents
    method = ns.ProxNPI(mode=mode, pull=0.0)
    code = ns.invert(model, IMAGE, PROMPT, method, steps=8)
    torch.testing.assert_close(
        ns.reconstruct(model, code, guidance=7.5).latents, plain, atol=1e-9, rtol=0
    )

    def edited(method, w=3.0):
        code = ns.invert(model, IMAGE, PROMPT, method, steps=8)
        return ns.edit(model, code, OTHER, guidance=w).latents

    free = edited(ns.NegativePrompt())
    away = [
        float((edited(ns.ProxNPI(q, mode, pull=0.0)) - free).norm()) for q in (0.0, 0.5, 0.9, 1.0)
    ]
    assert away == sorted(away)
    if mode == "hard":  # soft at quantile 0 still takes the smallest entry off all others
        assert away[0] < 0.05 * away[-1]
    source = edited(ns.ProxNPI(1.0, mode, pull=0.0))
    assert float((source - edited(ns.NegativePrompt(), w=0.0)).abs().max()) < 1e-9
    pulled = edited(ns.ProxNPI(0.9, mode, pull=0.5))
    near, far = ((x - code.path[-1]).norm() for x in (pulled, edited(ns.ProxNPI(0.9, mode, 0.0))))
    assert near < far


def test_regularised_noise_is_whiter(model):
    """pix2pix-zero's option: less autocorrelation and divergence at the noisy end; seeded."""
    from noisespace.inversion.noise_regularisation import autocorrelation, divergence, whiten

    drawn = [torch.Generator().manual_seed(i) for i in range(2)]
    smooth = torch.nn.functional.avg_pool2d(torch.randn(2, 4, 34, 34).double(), 3, 1)
    white = whiten(smooth, 10, drawn)

    def figures(x):
        fixed = [torch.Generator().manual_seed(9) for _ in range(2)]
        # correlation proper: of unit variance, since the divergence's step raises the variance
        return float(autocorrelation(x / x.std(), fixed)), float(divergence(x))

    before, after = figures(smooth), figures(white)
    assert after[0] < 0.9 * before[0]
    assert after[1] < 0.9 * before[1]
    plain = ns.invert(model, IMAGE, PROMPT, ns.DDIM(), steps=6)
    ours = [ns.invert(model, IMAGE, PROMPT, ns.DDIM(regularise=2), steps=6) for _ in range(2)]
    assert torch.equal(ours[0].path, ours[1].path)
    assert float((ours[0].path[0] - plain.path[0]).abs().max()) > 1e-6
    with pytest.raises(InputError, match="regularise"):
        ns.invert(model, IMAGE, PROMPT, ns.DDIM(regularise=-1), steps=6)


def test_sdedit_goes_further_from_the_image_the_stronger(model):
    away = []
    for strength in (0.2, 0.5, 0.8):
        code = ns.invert(model, IMAGE, PROMPT, ns.SDEdit(strength), steps=10)
        assert code.steps - code.first == round(10 * strength)
        x = ns.edit(model, code, OTHER, guidance=1.0).latents
        away.append(float((x - code.path[-1]).norm()))
    assert away == sorted(away)
    assert away[-1] > 1.5 * away[0]


def test_long_prompts_say_what_was_cut(model):
    with pytest.warns(UserWarning, match="cut.*grass"):
        ns.invert(model, IMAGE, "a photo of a cat " * 4 + "on grass", steps=2)


def test_an_edits_seeds_are_the_images_own(model):
    """Fresh noise of a batch: as if each image had been edited alone."""
    noisy = ns.SDEdit(strength=0.8, eta=1.0)
    code = ns.invert(model, [IMAGE, IMAGE], [PROMPT] * 2, noisy, steps=4, seed=[1, 2])
    both = ns.edit(model, code, [PROMPT] * 2, seed=[5, 6])
    for k, seed in enumerate((5, 6)):
        alone = ns.invert(model, IMAGE, PROMPT, noisy, steps=4, seed=k + 1)
        one = ns.edit(model, alone, PROMPT, seed=seed).latents[0]
        torch.testing.assert_close(both.latents[k], one, atol=1e-10, rtol=0)
    assert both.record["seed"] == [5, 6]
    with pytest.raises(InputError, match="seed must be one int or a list of 2"):
        ns.edit(model, code, [PROMPT] * 2, seed=[5])
