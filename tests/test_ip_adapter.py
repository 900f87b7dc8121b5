"""IP-Adapters: what the pipeline tells its network of a picture, every method tells it too."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

import noisespace as ns
from noisespace.core.controls import Controls, HookContext
from noisespace.errors import InputError
from tiny import double, tiny_flux, tiny_sd, tiny_sdxl

PICTURE = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
SHOWN = Image.fromarray(np.random.default_rng(2).integers(0, 256, (40, 32, 3), dtype=np.uint8))
SOURCE, TARGET = "a photo of a cat", "a photo of a dog"
WIDTH = 16  # of what the image encoder says


def adapter(unet, seed):
    """An IP-Adapter's file for that U-Net, in memory."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape):
        return torch.randn(shape, generator=generator) * 0.2

    cross = unet.config.cross_attention_dim
    state = {"proj.weight": drawn(4 * cross, WIDTH), "proj.bias": drawn(4 * cross)}
    state |= {"norm.weight": drawn(cross) + 1, "norm.bias": drawn(cross)}
    layers = {}
    attended = [k for k in unet.attn_processors if "attn2" in k]
    for i, name in enumerate(attended):
        width = unet.get_submodule(name.removesuffix(".processor")).to_q.out_features
        for part in ("k", "v"):
            layers[f"{2 * i + 1}.to_{part}_ip.weight"] = drawn(width, cross)
    return {"image_proj": state, "ip_adapter": layers}


def with_adapters(make, count=1):
    pipe = make()
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
        projection_dim=WIDTH,
    )
    encoder = CLIPVisionModelWithProjection(config).eval()
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    pipe.register_modules(image_encoder=encoder, feature_extractor=CLIPImageProcessor(**size))
    pipe.unet._load_ip_adapter_weights([adapter(pipe.unet, seed) for seed in range(count)])
    pipe.set_ip_adapter_scale([0.7, 0.4][:count])
    return double(pipe)


@pytest.fixture(scope="module", params=[tiny_sd, tiny_sdxl], ids=["sd", "sdxl"])
def pipe(request):
    made = with_adapters(request.param)
    for table in ("alphas_cumprod", "final_alpha_cumprod"):
        setattr(made.scheduler, table, getattr(made.scheduler, table).double())
    return made


@pytest.fixture(scope="module")
def model(pipe):
    return ns.from_pipeline(pipe, ip_adapter_image=SHOWN)


@pytest.mark.parametrize(("w", "negative"), [(1.0, None), (3.0, None), (3.0, "a blue dog")])
def test_samples_are_the_pipelines(pipe, model, w, negative):
    start = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    options = {"num_inference_steps": 4, "guidance_scale": w, "output_type": "latent"}
    options |= {"height": 32, "width": 32, "ip_adapter_image": SHOWN}
    if negative:
        options["negative_prompt"] = negative
    theirs = pipe(SOURCE, latents=start, **options).images
    got = ns.sample(model, SOURCE, steps=4, guidance=w, negative=negative, seed=3)
    torch.testing.assert_close(got.latents, theirs, atol=1e-10, rtol=1e-10)
    assert len(got.record["model"]["ip_adapter"]) == 12


def test_codes_are_exact_and_editors_find_the_words(model):
    code = ns.invert(model, PICTURE, SOURCE, steps=6)
    assert (ns.reconstruct(model, code).latents - code.path[-1]).abs().max() < 1e-8
    plain = ns.edit(model, code, TARGET, guidance=3.0).latents
    for editor in (ns.PromptToPrompt(), ns.MasaCtrl(step=1, layer=0)):
        edited = ns.edit(model, code, TARGET, editor=editor, guidance=3.0).latents
        assert (edited - plain).abs().max() > 1e-6
    assert ns.attention_maps(model, code).words == (("a", "photo", "of", "cat"),)


def test_controls_see_the_attention_to_the_text_and_change_nothing(model):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 8, 8, generator=generator, dtype=torch.float64)
    level, text = model.grid(10).level(torch.tensor([3, 3])), model.embed([SOURCE, TARGET])
    seen = []

    def probs(step, site, p):
        if site.kind == "cross":
            seen.append(p.shape[-1])
        return p

    with torch.no_grad():
        plain = model.denoise(x, level, text).eps
        same = model.denoise(x, level, text, HookContext(Controls(probs=probs), 0, 1, 2)).eps
    torch.testing.assert_close(same, plain, atol=1e-10, rtol=0)
    assert set(seen) == {text.embedding.shape[1]}


def test_two_adapters_take_two_pictures():
    pipe = with_adapters(tiny_sd, 2)
    model = ns.from_pipeline(pipe, ip_adapter_image=[SHOWN, SHOWN.rotate(90)])
    start = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    options = {"num_inference_steps": 4, "guidance_scale": 3.0, "output_type": "latent"}
    shown = {"ip_adapter_image": [SHOWN, SHOWN.rotate(90)], "height": 32, "width": 32}
    theirs = pipe(SOURCE, latents=start, **options, **shown).images
    got = ns.sample(model, SOURCE, steps=4, guidance=3.0, seed=3).latents
    torch.testing.assert_close(got, theirs, atol=1e-5, rtol=1e-5)
    with pytest.raises(InputError, match="one for each IP-Adapter"):
        ns.from_pipeline(pipe, ip_adapter_image=SHOWN)


def test_what_it_is_told_makes_the_code_its_own(pipe, model):
    code = ns.invert(model, PICTURE, SOURCE, steps=3)
    other = ns.from_pipeline(pipe, ip_adapter_image=SHOWN.rotate(90))
    with pytest.raises(InputError, match="was made with the model"):
        ns.edit(other, code, TARGET)
    pipe.set_ip_adapter_scale(0.2)
    weaker = ns.from_pipeline(pipe, ip_adapter_image=SHOWN)
    pipe.set_ip_adapter_scale(0.7)
    assert len({m.fingerprint for m in (model, other, weaker)}) == 3
    with pytest.raises(InputError, match="pass ip_adapter_image"):
        ns.from_pipeline(pipe)
    with pytest.raises(InputError, match="which this is not"):
        ns.from_pipeline(tiny_flux(), ip_adapter_image=SHOWN)
