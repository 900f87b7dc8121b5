"""Every family of networks against its own pipeline of diffusers, and what all of them can do."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

import noisespace as ns
from choices import EVERY_EDITOR, EVERY_INVERSION, NOTHING
from noisespace.cli import app
from noisespace.core.controls import Controls, HookContext
from noisespace.editing.attention.token_alignment import align, find_word, words_of
from noisespace.errors import InputError
from single_files import original_layout, twin
from tiny import double, tiny_flux, tiny_sd, tiny_sd3, tiny_sdxl

PROMPTS = ["a cat", "a red horse running on grass in the photo"]
STEPS, SEEDS = 4, [3, 4]


class Exact(FlowMatchEulerDiscreteScheduler):
    """diffusers' flow scheduler without its detour over float32."""

    def step(self, model_output, timestep, sample, return_dict=True, **_):
        if self.step_index is None:
            self._init_step_index(timestep)
        dt = self.sigmas[self._step_index + 1].double() - self.sigmas[self._step_index].double()
        self._step_index += 1
        return (sample + dt.to(sample) * model_output,)


Exact.__name__ = "FlowMatchEulerDiscreteScheduler"  # as which it is known


def flows(make, **options):
    def made():
        pipe = make(**options)
        pipe.scheduler = Exact.from_config(pipe.scheduler.config)
        return pipe

    return made


FAMILIES = {
    "sd": tiny_sd,
    "sdxl": tiny_sdxl,
    "sdxl-v": lambda: tiny_sdxl(prediction_type="v_prediction", timestep_spacing="trailing"),
    "sd3": flows(tiny_sd3),
    "sd3-dynamic": flows(tiny_sd3, use_dynamic_shifting=True),
    "sd3-no-t5": flows(tiny_sd3, t5=False),
    "flux": flows(tiny_flux),
    "flux-schnell": flows(tiny_flux, told=False),
}


def call(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def made(name):
    return FAMILIES[name]()


def start(model, size):
    """The noise that ``sample`` draws of the seeds."""
    shape = (model.channels, *(side // model.factor for side in size))
    drawn = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    return torch.stack([torch.randn(shape, generator=g, dtype=model.state_dtype) for g in drawn])


def theirs(pipe, model, size, w, negative):
    """The latents that the pipeline makes of the same noise."""
    x = start(model, size)
    options = {"num_inference_steps": STEPS, "guidance_scale": w, "output_type": "latent"}
    options |= {"height": size[0], "width": size[1]}
    if "SD3" in type(pipe.components.get("transformer")).__name__:
        options["max_sequence_length"] = 256 if pipe.text_encoder_3 is None else 20
    if "Flux" in type(pipe).__name__:
        options["max_sequence_length"] = 20
        x = pipe._pack_latents(x, *x.shape)
    elif negative is not None:
        options["negative_prompt"] = [negative] * 2
    out = pipe(PROMPTS, latents=x, **options).images
    if "Flux" in type(pipe).__name__:
        out = pipe._unpack_latents(out, *size, pipe.vae_scale_factor)
    return out


@pytest.mark.parametrize("negative", [None, "", "a blue dog on the photo"])
@pytest.mark.parametrize("size", [(32, 32), (48, 32)])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_samples_are_the_pipelines(name, wide, size, negative):
    pipe = double(made(name)) if wide else made(name)
    model = ns.from_pipeline(pipe)
    if negative is not None and not model.has_null:
        with pytest.raises(InputError, match="no null text"):
            ns.sample(model, PROMPTS, negative=negative)
        return
    if wide and not model.schedule.flows:  # its table, rounded as it is, without further rounding
        for table in ("alphas_cumprod", "final_alpha_cumprod"):
            setattr(pipe.scheduler, table, getattr(pipe.scheduler, table).double())
    w = 1.0 if name == "flux-schnell" else 3.0
    options = {"steps": STEPS, "guidance": w, "size": size, "seed": SEEDS}
    got = ns.sample(model, PROMPTS, negative=negative, **options).latents
    expected = theirs(pipe, model, size, w, negative)
    tolerance = 1e-10 if wide else 1e-5
    torch.testing.assert_close(got, expected.to(got), atol=tolerance, rtol=tolerance)
    alone = ns.sample(model, PROMPTS[0], negative=negative, **{**options, "seed": SEEDS[0]})
    torch.testing.assert_close(alone.latents, got[:1], atol=10 * tolerance, rtol=0)


@pytest.mark.parametrize("name", FAMILIES)
def test_pictures_go_through_the_autoencoder_as_in_the_pipeline(name):
    pipe = double(made(name))
    model = ns.from_pipeline(pipe)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(2, 3, 32, 48, generator=generator, dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        latents = pipe.vae.encode(pixels).latent_dist.mode()
    shift, scale = pipe.vae.config.shift_factor or 0, pipe.vae.config.scaling_factor
    torch.testing.assert_close(model.encode(pixels), (latents - shift) * scale)
    with torch.no_grad():
        back = pipe.vae.decode(latents).sample
        torch.testing.assert_close(model.decode((latents - shift) * scale), back)
    assert model.encode(pixels).shape[1:] == (model.channels, 8, 12)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_edit_friendly_codes_are_exact(name, wide):
    model = ns.from_pipeline(double(made(name)) if wide else made(name))
    picture = np.random.default_rng(0).integers(0, 256, (40, 32, 3), dtype=np.uint8)
    for method in (ns.EditFriendly(skip=0), ns.EditFriendly(skip=0.25, eta=0.3)):
        code = ns.invert(model, picture, PROMPTS[0], method, steps=8, size=(40, 32))
        away = (ns.reconstruct(model, code).latents - code.path[-1]).abs().max()
        assert away < (1e-8 if wide else 2e-5)
        edit = ns.edit(model, code, PROMPTS[1], guidance=1.0)
        assert (edit.latents - code.path[-1]).abs().max() > 1e-2
        assert edit.images[0].size == (32, 40)


@pytest.mark.parametrize("steps", [1, 4, 8])
@pytest.mark.parametrize("width", [None, 16])
def test_consistency_models_are_sampled_as_by_their_pipelines(width, steps):
    """LCM: its own times, noise anew at each step, and a guidance that the network may be told."""
    from diffusers import LatentConsistencyModelPipeline, LCMScheduler, UNet2DConditionModel

    pipe = tiny_sd()
    scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    if width is None:
        pipe.scheduler = scheduler
    else:
        torch.manual_seed(0)
        config = {k: v for k, v in pipe.unet.config.items() if not k.startswith("_")}
        unet = UNet2DConditionModel(**{**config, "time_cond_proj_dim": width})
        parts = {name: part for name, part in pipe.components.items() if name != "image_encoder"}
        pipe = LatentConsistencyModelPipeline(
            **{**parts, "unet": unet, "scheduler": scheduler}, requires_safety_checker=False
        )
        pipe.set_progress_bar_config(disable=True)
    double(pipe)
    model = ns.from_pipeline(pipe)
    assert model.has_null == (width is None)
    options = {"num_inference_steps": steps, "guidance_scale": 3.0, "output_type": "latent"}
    drawn = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    theirs = pipe(PROMPTS, generator=drawn, height=32, width=32, **options).images
    got = ns.sample(model, PROMPTS, steps=steps, guidance=3.0, seed=SEEDS).latents
    torch.testing.assert_close(got, theirs, atol=1e-5, rtol=1e-5)
    with pytest.raises(InputError, match="eta"):
        ns.sample(model, PROMPTS, eta=0.5)
    code = ns.invert(model, PICTURE, PROMPTS[0], ns.EditFriendly(skip=0), steps=max(steps, 2))
    away = (ns.reconstruct(model, code).latents - code.path[-1]).abs().max()
    assert away < 1e-8


# ---- what the network does inside

KINDS = ["sd", "sdxl", "sd3", "sd3-no-t5", "flux"]
IDENTITY = {
    "qkv": lambda step, site, q, k, v: (q, k, v),
    "probs": lambda step, site, p: p,
    "feature": lambda step, site, h: h,
}


def asked(model, size=(8, 12)):
    """A state, a level and a condition to ask a network by."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, model.channels, *size, generator=generator, dtype=model.state_dtype)
    return x, model.grid(10, size).level(torch.tensor([3, 3])), model.embed(PROMPTS)


def hooked(**controls):
    return HookContext(Controls(**controls), 0, 1, 2)


@pytest.mark.parametrize("names", [("qkv",), ("probs",), ("feature",), ("qkv", "probs", "feature")])
@pytest.mark.parametrize("name", KINDS)
def test_controls_that_change_nothing_change_nothing(name, names):
    model = ns.from_pipeline(double(made(name)))
    x, level, text = asked(model)
    with torch.no_grad():
        plain = model.denoise(x, level, text).eps
        same = model.denoise(x, level, text, hooked(**{n: IDENTITY[n] for n in names})).eps
        torch.testing.assert_close(same, plain, atol=1e-10, rtol=0)

        def halved(step, site, *parts):
            return tuple(p / 2 for p in parts) if len(parts) > 1 else parts[0] / 2

        other = model.denoise(x, level, text, hooked(**dict.fromkeys(names, halved))).eps
    assert float((other - plain).abs().max()) > 1e-6


@pytest.mark.parametrize("name", KINDS)
def test_sites_are_those_that_are_evaluated_in_their_order(name):
    model = ns.from_pipeline(double(made(name)))
    x, level, text = asked(model)
    attended, fed = [], []

    def qkv(step, site, q, k, v):
        tokens = site.size(8, 12)
        assert q.shape[-2] == tokens[0] * tokens[1]
        assert k.shape[-2] == (text.embedding.shape[1] if site.kind == "cross" else q.shape[-2])
        attended.append(site)
        return q, k, v

    def feature(step, site, h):
        assert h.shape[-2:] == site.size(8, 12)
        fed.append(site)
        return h

    with torch.no_grad():
        model.denoise(x, level, text, hooked(qkv=qkv, feature=feature))
    assert attended == [site for site in model.sites() if site.kind != "feature"]
    assert fed == [site for site in model.sites() if site.kind == "feature"]
    assert {site.kind for site in attended} == {"self", "cross"}


@pytest.mark.parametrize("name", ["sd3", "flux"])
def test_word_maps_are_the_probabilities_of_a_joint_attention(name):
    """Of the first layer, against a softmax of what its own projections give, by hand."""
    pipe = double(made(name))
    model = ns.from_pipeline(pipe)
    x, level, text = asked(model)
    seen, given = {}, {}

    def probs(step, site, p):
        seen.setdefault((site.name, site.kind), p.flatten(0, 2))
        return p

    layer = pipe.transformer.transformer_blocks[0].attn
    watch = layer.register_forward_pre_hook(
        lambda module, args, kwargs: given.update(kwargs), with_kwargs=True
    )
    with torch.no_grad():
        model.denoise(x, level, text, hooked(probs=probs))
        watch.remove()
        image, words = given["hidden_states"], given["encoder_hidden_states"]

        def heads(h):
            return h.unflatten(-1, (layer.heads, -1)).transpose(1, 2)

        q = layer.norm_q(heads(layer.to_q(image)))
        own, told = layer.norm_k(heads(layer.to_k(image))), heads(layer.add_k_proj(words))
        told = layer.norm_added_k(told)
        if name == "flux":  # turned by their places; the text's are all at 0
            from diffusers.models.embeddings import apply_rotary_emb

            cos, sin = given["image_rotary_emb"]
            at = len(words[0])
            q, own = (apply_rotary_emb(h, (cos[at:], sin[at:])) for h in (q, own))
            told = apply_rotary_emb(told, (cos[:at], sin[:at]))
        scores = torch.cat([q @ told.mT, q @ own.mT], -1) * q.shape[-1] ** -0.5
        p = scores.softmax(-1)
    name = "transformer_blocks.0.attn"
    count = words.shape[1]
    torch.testing.assert_close(seen[name, "cross"], p[..., :count], atol=1e-8, rtol=0)
    torch.testing.assert_close(seen[name, "self"], p[..., count:], atol=1e-8, rtol=0)


@pytest.mark.parametrize("name", ["sd3", "flux"])
def test_words_are_found_in_what_every_encoder_reads(name):
    model = ns.from_pipeline(made(name))
    prompts = ["a cat on grass", "a dog on grass", "a xyz cat", ""]
    tokens = model.embed(prompts).tokens
    length = len(tokens[0])
    assert length == model.embed(prompts).embedding.shape[1] == {"sd3": 36, "flux": 20}[name]
    assert [word.text for word in words_of(tokens[2])] == ["a", "xyz", "cat"]
    at = find_word(tokens[0], "cat", prompts[0])
    assert at == {"sd3": [2, 17], "flux": [1]}[name]
    assert [tokens[0][i] for i in at] == ["cat</w>"] * len(at)
    assert words_of(tokens[3]) == []
    for a in tokens:
        for b in tokens:
            mapper, serves = align(a, b, "auto")
            total = mapper.sum(1)
            assert bool(((total - 1).abs().lt(1e-6) | (total == 0)).all())
            assert not bool(mapper[:, serves == 0].any())
    mapper, _ = align(tokens[0], tokens[1], "auto")
    assert all(mapper[i, i] == 1 for i in at)  # "dog" has the map of "cat", in each encoder


# ---- edits

PICTURE = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
SOURCE, TARGET = "a photo of a cat", "a photo of a dog"
SIZE = {"size": (32, 32)}


@pytest.fixture(scope="module", params=["sdxl", "sd3", "flux"])
def model(request):
    return ns.from_pipeline(double(made(request.param)))


def needs_null(method):
    return method.defaults.null


@pytest.mark.parametrize("method", EVERY_INVERSION, ids=lambda m: type(m).__name__)
def test_every_inversion_runs_or_says_why_not(model, method):
    if needs_null(method) and not model.has_null:
        with pytest.raises(InputError, match="works on the null text"):
            ns.invert(model, PICTURE, SOURCE, method, steps=4, **SIZE)
        return
    if isinstance(method, ns.BELM) and model.schedule.flows:  # at level 0 a flow holds no signal
        with pytest.raises(InputError, match="alpha = 0"):
            ns.invert(model, PICTURE, SOURCE, method, steps=4, **SIZE)
        return
    code = ns.invert(model, PICTURE, SOURCE, method, steps=4, **SIZE)
    result = ns.edit(model, code, [TARGET, "a horse"], guidance=3.0)
    assert torch.isfinite(result.latents).all()
    assert not torch.equal(result.latents[0], result.latents[1])


@pytest.mark.parametrize("editor", EVERY_EDITOR, ids=lambda e: type(e).__name__)
def test_every_editor_changes_the_target_and_not_the_source(model, editor):
    code = ns.invert(model, PICTURE, SOURCE, ns.EditFriendly(), steps=6, **SIZE)
    if isinstance(editor, ns.Pix2PixZero) and getattr(model.family, "zeros", not model.has_null):
        with pytest.raises(InputError, match="maps="):
            ns.edit(model, code, TARGET, editor=editor)
        editor = ns.Pix2PixZero(maps="text")
    if isinstance(editor, ns.DiffEdit):
        editor = ns.DiffEdit(maps=3, threshold=0.9)  # at .5 a random network differs everywhere
    run = ns.edit_steps(model, code, TARGET, editor=editor, guidance=2.0)
    rows = [preview.step for preview in run][-1].x[0]
    source = ns.reconstruct(model, code).latents[0]
    torch.testing.assert_close(rows[0], source, atol=1e-8, rtol=0)
    plain = ns.edit(model, code, TARGET, guidance=2.0).latents[0]
    assert float((rows[1] - plain).abs().max()) > 1e-6


@pytest.mark.parametrize(
    "editor", [ns.PromptToPrompt(), ns.MasaCtrl(step=1, layer=0), ns.PlugAndPlay()], ids=repr
)
def test_a_target_equal_to_its_source_is_the_source(model, editor):
    code = ns.invert(model, PICTURE, SOURCE, ns.EditFriendly(), steps=6, **SIZE)
    run = ns.edit_steps(model, code, SOURCE, editor=editor, guidance=code.guidance)
    rows = [preview.step for preview in run][-1].x[0]
    torch.testing.assert_close(rows[1], rows[0], atol=1e-9, rtol=0)


@pytest.mark.parametrize("editor", NOTHING, ids=lambda e: type(e).__name__)
def test_an_editor_at_strength_zero_is_none(model, editor):
    if isinstance(editor, ns.Pix2PixZero):  # whose maps are the text's on every family
        editor = ns.Pix2PixZero(amount=0.0, maps="text")
    code = ns.invert(model, PICTURE, SOURCE, steps=6, **SIZE)
    plain = ns.edit(model, code, TARGET, guidance=3.0).latents
    edited = ns.edit(model, code, TARGET, guidance=3.0, editor=editor).latents
    torch.testing.assert_close(edited, plain, atol=1e-10, rtol=0)


def test_extra_network_calls_change_nothing(model):
    code = ns.invert(model, PICTURE, SOURCE, steps=4, **SIZE)
    x, level, text = asked(model)
    for editor in (ns.PromptToPrompt(), ns.MasaCtrl(step=1, layer=0), ns.PlugAndPlay()):
        expected = ns.edit(model, code, TARGET, editor=editor, guidance=2.0).latents
        run = ns.edit_steps(model, code, TARGET, editor=editor, guidance=2.0)
        for _ in run:
            model.denoise(x, level, text)
        assert torch.equal(run.result.latents, expected)


@pytest.mark.parametrize("editor", [None, ns.PromptToPrompt(), ns.MasaCtrl(step=1)], ids=repr)
def test_outside_a_painted_mask_the_picture_is_the_reconstruction(model, editor):
    mask = np.zeros((32, 32), bool)
    mask[5:19, 7:30] = True
    images = [PICTURE, 255 - PICTURE]
    code = ns.invert(model, images, SOURCE, steps=4, seed=[0, 1], **SIZE)
    result = ns.edit(model, code, [TARGET] * 2, mask=mask, editor=editor, guidance=3.0)
    for edited, source in zip(result.images, ns.reconstruct(model, code).images, strict=True):
        same = (np.asarray(edited) == np.asarray(source)).all(-1)
        assert same[~mask].all()
        assert not same[mask].all()


def test_local_blend_keeps_the_outside(model):
    code = ns.invert(model, PICTURE, SOURCE, steps=6, **SIZE)
    editor = ns.PromptToPrompt(blend=("cat", "dog"), blend_threshold=0.999, blend_start=0.0)
    run = ns.edit_steps(model, code, TARGET, editor=editor, guidance=3.0)
    rows = [preview.step for preview in run][-1].x[0]
    same = (rows[1] == rows[0]).all(0)
    assert 0 < int(same.sum()) < same.numel()


@pytest.mark.parametrize("change", [ns.Shift(4, 0), None], ids=["shift", "interpolate"])
def test_operations_on_codes(model, change):
    code = ns.invert(model, PICTURE, SOURCE, steps=4, **SIZE)
    if change is None:
        other = ns.invert(model, 255 - PICTURE, SOURCE, steps=4, seed=1, **SIZE)
        ends = [ns.interpolate(model, code, other, t) for t in (0.0, 1.0)]
        for end, one in zip(ends, (code, other), strict=True):
            torch.testing.assert_close(end.path, one.path, atol=1e-10, rtol=0)
        return
    moved = change(model, code)
    assert torch.isfinite(ns.edit(model, moved, TARGET, guidance=2.0).latents).all()
    assert (moved.path[-1] - code.path[-1]).abs().max() > 1e-3


def test_attention_to_words_and_masks_of_it(model):
    code = ns.invert(model, PICTURE, SOURCE, ns.EditFriendly(), steps=6, **SIZE)
    maps = ns.attention_maps(model, code)
    assert maps.words == (("a", "photo", "of", "cat"),)
    assert maps.maps[0].shape[0] == 4
    mask = ns.AttentionMask("cat", threshold=0.9)
    kept = ns.edit(model, code, TARGET, mask=mask, guidance=2.0)
    assert kept.mask is not None


def test_row_by_row_equals_one_batch(model):
    pictures, sources = [PICTURE, 255 - PICTURE], [SOURCE, "a cat on grass"]
    targets = [[TARGET, "a red dog"], ["a dog on grass", "a photo of the dog"]]
    editor = ns.PromptToPrompt()
    code = ns.invert(model, pictures, sources, steps=5, seed=[0, 1], **SIZE)
    both = ns.edit(model, code, targets, editor=editor, guidance=2.0).latents
    for i in range(2):
        one = ns.invert(model, pictures[i], sources[i], steps=5, seed=i, **SIZE)
        for j in range(2):
            alone = ns.edit(model, one, targets[i][j], editor=editor, guidance=2.0).latents[0]
            torch.testing.assert_close(alone, both[2 * i + j], atol=1e-8, rtol=0)


def test_negative_prompts_are_the_null_text_of_targets_alone():
    model = ns.from_pipeline(double(made("sdxl")))
    code = ns.invert(model, [PICTURE, 255 - PICTURE], SOURCE, steps=5, **SIZE)
    options = {"guidance": 3.0, "editor": ns.MasaCtrl(step=1, layer=0)}
    plain = ns.edit_steps(model, code, TARGET, **options)
    told = ns.edit_steps(model, code, TARGET, negative=["a red dog", "grass"], **options)
    *_, a = [preview.step for preview in plain]
    *_, b = [preview.step for preview in told]
    torch.testing.assert_close(a.x[:, 0], b.x[:, 0], atol=1e-9, rtol=0)
    assert bool(((a.x - b.x)[:, 1].abs().amax((1, 2, 3)) > 1e-3).all())
    assert told.result.record["negative"] == ["a red dog", "grass"]
    one = ns.edit(model, code, TARGET, negative="a red dog", **options).latents
    torch.testing.assert_close(one[0], b.x[0, 1], atol=1e-9, rtol=0)
    empty = ns.edit(model, code, TARGET, negative="", **options).latents
    assert (empty - a.x[:, 1]).abs().max() > 1e-3  # "" is text; no prompt is zeros
    tuned = ns.invert(model, PICTURE, SOURCE, ns.NegativePrompt(), steps=4, **SIZE)
    with pytest.raises(InputError, match="own null text"):
        ns.edit(model, tuned, TARGET, negative="a red dog")
    with pytest.raises(InputError, match="list of 2"):
        ns.edit(model, code, TARGET, negative=["a", "b", "c"])


def test_a_guidance_that_is_told_is_told_and_not_mixed():
    model = ns.from_pipeline(made("flux"))
    asked = []

    def look(module, args, kwargs):
        asked.append((len(kwargs["hidden_states"]), kwargs["guidance"].tolist()))

    watch = model.network.register_forward_pre_hook(look, with_kwargs=True)
    code = ns.invert(model, PICTURE, SOURCE, ns.DDIM(), steps=2, **SIZE)
    ns.edit(model, code, [TARGET, "a horse"], guidance=4.0)
    watch.remove()
    assert asked == [(1, [1.0])] * 2 + [(2, [4.0, 4.0])] * 2  # one evaluation a row
    with pytest.warns(UserWarning, match="trained on about 1 to 5"):
        ns.edit(model, code, TARGET, guidance=15.0)
    schnell = ns.from_pipeline(made("flux-schnell"))
    with pytest.raises(InputError, match="knows no guidance"):
        ns.sample(schnell, SOURCE, guidance=3.0, **SIZE)


def test_grids_of_flows_are_the_schedulers():
    for make, size in ((tiny_flux, (8, 8)), (tiny_flux, (64, 32)), (tiny_sd3, (8, 8))):
        pipe = make()
        model, scheduler = ns.from_pipeline(pipe), pipe.scheduler
        options = {}
        if make is tiny_flux:
            from diffusers.pipelines.flux.pipeline_flux import calculate_shift

            tokens = size[0] * size[1] // 4
            options = {"sigmas": np.linspace(1, 1 / 7, 7), "mu": calculate_shift(tokens)}
        scheduler.set_timesteps(7, **options)
        grid = model.grid(7, size)
        assert torch.equal(grid.sigma, scheduler.sigmas.double())
        assert torch.equal(grid.timesteps[:-1], scheduler.timesteps.double())
        assert torch.equal(grid.alpha, 1 - grid.sigma)


def test_pipelines_stay_as_they_are():
    pipe = made("sd3")
    pipe.transformer.train()
    before = {name: part.training for name, part in pipe.transformer.named_modules()}
    model = ns.from_pipeline(pipe)
    code = ns.invert(model, PICTURE, SOURCE, steps=3, **SIZE)
    ns.edit(model, code, TARGET, editor=ns.PromptToPrompt(), guidance=2.0)
    assert before == {name: part.training for name, part in pipe.transformer.named_modules()}
    assert all(weight.requires_grad for weight in pipe.transformer.parameters())
    assert not any(part._forward_hooks for part in pipe.transformer.modules())


@pytest.mark.parametrize("sliced", [False, True])
def test_processors_that_a_user_has_set_stay_and_serve(sliced):
    from diffusers.models.attention_processor import AttnProcessor

    pipe = double(made("sdxl"))
    code = ns.invert(ns.from_pipeline(pipe), PICTURE, SOURCE, steps=4, **SIZE)
    editor = ns.PromptToPrompt()
    expected = ns.edit(ns.from_pipeline(pipe), code, TARGET, editor=editor, guidance=2.0).latents
    if sliced:
        pipe.enable_attention_slicing(1)
    else:
        pipe.unet.set_attn_processor(AttnProcessor())
    own = pipe.unet.attn_processors
    got = ns.edit(ns.from_pipeline(pipe), code, TARGET, editor=editor, guidance=2.0).latents
    torch.testing.assert_close(got, expected, atol=1e-9, rtol=0)
    assert all(own[name] is now for name, now in pipe.unet.attn_processors.items())

    class Twice(AttnProcessor):
        def __call__(self, *args, **kwargs):
            return 2 * super().__call__(*args, **kwargs)

    pipe.unet.set_attn_processor(Twice())
    with pytest.raises(InputError, match="Twice"):
        ns.edit(ns.from_pipeline(pipe), code, TARGET, editor=editor, guidance=2.0)


def test_what_does_not_go_together_is_one_sentence():
    from diffusers import DDIMScheduler, EDMEulerScheduler

    pipe = made("sd")
    pipe.scheduler = FlowMatchEulerDiscreteScheduler()
    with pytest.raises(InputError, match="scheduler with betas"):
        ns.from_pipeline(pipe)
    pipe.scheduler = EDMEulerScheduler()
    with pytest.raises(InputError, match="EDMEulerScheduler is not supported"):
        ns.from_pipeline(pipe)
    pipe = made("flux")
    pipe.scheduler = DDIMScheduler()
    with pytest.raises(InputError, match="flow-matching"):
        ns.from_pipeline(pipe)
    pipe = made("sd3")
    pipe.vae = made("sd").vae
    with pytest.raises(InputError, match="16 channels"):
        ns.from_pipeline(pipe)


def test_unets_that_want_more_are_refused_by_what_they_want():
    for option, word in (
        ({"num_class_embeds": 3}, "class labels"),
        ({"encoder_hid_dim_type": "ip_image_proj"}, "has an IP-Adapter"),
        ({"encoder_hid_dim_type": "text_image_proj"}, "text_image_proj"),
        ({"addition_embed_type": "image"}, "'image'"),
    ):
        pipe = made("sd")
        pipe.unet.register_to_config(**option)
        with pytest.raises(InputError, match=word):
            ns.from_pipeline(pipe)
    pipe = made("sd")
    pipe.controlnet = pipe.unet
    with pytest.raises(InputError, match="ControlNet"):
        ns.from_pipeline(pipe)
    pipe = made("flux")
    pipe.transformer = pipe.vae
    with pytest.raises(InputError, match="AutoencoderKL"):
        ns.from_pipeline(pipe)
    pipe = made("sd3")
    pipe.text_encoder_3.to("meta")
    with pytest.raises(InputError, match="on no device"):
        ns.from_pipeline(pipe)
    pipe = made("sd3")
    pipe.text_encoder_2 = None
    with pytest.raises(InputError, match="text_encoder_2"):
        ns.from_pipeline(pipe)


def test_ip_adapters_without_a_picture_and_weights_in_8_bits_are_refused():
    from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
    from diffusers.models.transformers.transformer_flux import FluxIPAdapterAttnProcessor

    pipe = made("sdxl")
    own = pipe.unet.attn_processors
    name = next(name for name in own if "attn2" in name)
    pipe.unet.set_attn_processor({**own, name: IPAdapterAttnProcessor2_0(16, 64)})
    with pytest.raises(InputError, match="IP-Adapter"):
        ns.from_pipeline(pipe)
    pipe = made("flux")
    pipe.transformer.set_attn_processor(FluxIPAdapterAttnProcessor(32, 32))
    with pytest.raises(InputError, match="IP-Adapter"):
        ns.from_pipeline(pipe)
    pipe = made("sd3")
    pipe.transformer.enable_layerwise_casting(torch.float8_e4m3fn, torch.float32)
    with pytest.raises(InputError, match="8 bits"):
        ns.from_pipeline(pipe)


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "sd3-no-t5", "flux"])
def test_the_same_command_runs_on_the_folder_of_every_family(name, tmp_path):
    pipe = made(name)
    pipe.save_pretrained(tmp_path / "model", safe_serialization=True)
    Image.fromarray(PICTURE).save(tmp_path / "photo.png")
    said = ["--source", SOURCE, "--target", TARGET, "--steps", "4", "--size", "32"]
    place = ["--model", tmp_path / "model", "-o", tmp_path / "dog.png", "--device", "cpu"]
    done = call("edit", tmp_path / "photo.png", *said, *place)
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "dog.json").read_text())["pictures"][0]["record"]
    assert record["model"]["fingerprint"] == ns.from_pipeline(pipe).fingerprint
    with Image.open(tmp_path / "dog.png") as picture:
        assert picture.size == (32, 32)
    if name == "flux":
        assert record["guidance"] == 3.5
        loud = call("edit", tmp_path / "photo.png", *said, *place, "--force", "--guidance", "15")
        assert loud.exit_code == 0
        assert loud.stderr.count("trained on about 1 to 5") == 1
        refused = call("edit", tmp_path / "photo.png", *said, *place, "--negative", "a cat")
        assert refused.exit_code == 2


# The models of README.md's commands, and the twins in whose place they run
TWINS = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": tiny_sd,
    "stabilityai/stable-diffusion-xl-base-1.0": tiny_sdxl,
    "stabilityai/stable-diffusion-3.5-medium": tiny_sd3,
    "black-forest-labs/FLUX.1-dev": tiny_flux,
    "dreamshaper_8.safetensors": lambda: twin("sd15"),
}
PAGE = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line for line in PAGE.splitlines() if line.startswith("noisespace edit photo.jpg --source")
]


@pytest.mark.parametrize("name", TWINS)
def test_the_commands_of_the_readme(name, tmp_path, monkeypatch):
    """Each as it is printed, but for the steps, the size, and a tiny twin behind the name."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(PICTURE).save("photo.jpg")
    if name.endswith(".safetensors"):
        save_file(original_layout(TWINS[name]()), name)
    else:
        TWINS[name]().save_pretrained("twin", safe_serialization=True)
        monkeypatch.setattr("noisespace.models.hub.fetch", lambda name, half: Path("twin"))
    (command,) = (line for line in COMMANDS if f"--model {name}" in line)
    words = shlex.split(command)[1:]
    done = call(*words, "--steps", 3, "--size", 32, "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert f"model: {name} (" in done.stderr
    with Image.open("dog.png") as picture:
        assert picture.size == (32, 32)
    assert len(COMMANDS) == len(TWINS)


def test_added_tokens_are_words_and_several_vectors_are_all_read():
    pipe = made("sd")
    pipe.load_textual_inversion({"<toy>": torch.randn(1, 32)}, token="<toy>")
    pipe.load_textual_inversion({"<pair>": torch.randn(2, 32)}, token="<pair>")
    model = ns.from_pipeline(pipe)
    for prompt, positions in (("a <toy> on grass", 1), ("a <pair> on grass", 2)):
        text = model.embed([prompt])
        words = [word.text for word in words_of(text.tokens[0])]
        assert words[:2] == ["a", prompt.split()[1]]
        assert words[-2:] == ["on", "grass"]
        assert len(words) == 3 + positions
        expected, _ = pipe.encode_prompt(prompt, "cpu", 1, False)
        torch.testing.assert_close(text.embedding, expected)
    code = ns.invert(model, PICTURE, "a <toy> on grass", steps=4, **SIZE)
    editor = ns.PromptToPrompt(blend=("<toy>", "cat"))
    assert ns.edit(model, code, "a cat on grass", editor=editor).images
