"""Networks of nine channels: told where they may paint, as their pipelines tell them."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

import noisespace as ns
from noisespace.cli import app
from noisespace.core.condition import PAINT
from noisespace.errors import InputError
from single_files import original_layout, twin
from tiny import double, tiny_inpainting, tiny_sd, tiny_sdxl, with_inputs

PICTURE = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
SOURCE, TARGET = "a photo of a cat", "a photo of a dog"
LEFT = np.zeros((32, 32), np.uint8)
LEFT[:, :16] = 255


@pytest.fixture(scope="module", params=[tiny_sd, tiny_sdxl], ids=["sd", "sdxl"])
def pipe(request):
    made = double(tiny_inpainting(request.param))
    for table in ("alphas_cumprod", "final_alpha_cumprod"):
        setattr(made.scheduler, table, getattr(made.scheduler, table).double())
    return made


@pytest.fixture(scope="module")
def model(pipe):
    return ns.from_pipeline(pipe)


def theirs(pipe, prompt, start, mask, picture, size, w):
    """The latents that the pipeline paints, told the mode of the masked picture's latents."""
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].double() / 127.5 - 1
    white = torch.from_numpy(mask)[None, None].double() / 255
    with torch.no_grad():
        masked = pipe.vae.encode(pixels * (white < 0.5)).latent_dist.mode()
    options = {"num_inference_steps": 4, "guidance_scale": w, "output_type": "latent"}
    options |= {"height": size[0], "width": size[1], "strength": 1.0, "latents": start}
    shown = {"image": pixels / 2 + 0.5, "mask_image": white}
    masked = masked * pipe.vae.config.scaling_factor
    return pipe(prompt, masked_image_latents=masked, **shown, **options).images


@pytest.mark.parametrize("size", [(32, 32), (48, 32)])
def test_samples_are_those_of_the_pipeline_that_may_paint_all(pipe, model, size):
    assert (model.paints, model.channels) == (True, 4)
    got = ns.sample(model, SOURCE, steps=4, guidance=3.0, size=size, seed=3).latents
    shape = (1, 4, size[0] // 4, size[1] // 4)
    start = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    everywhere = np.full(size, 255, np.uint8), np.zeros((*size, 3), np.uint8)
    expected = theirs(pipe, SOURCE, start, *everywhere, size, 3.0)
    torch.testing.assert_close(got, expected, atol=1e-10, rtol=1e-10)


def test_a_masked_edit_is_told_its_mask_and_what_stands_around(pipe, model, monkeypatch):
    """SDEdit from pure noise under a mask is what the pipeline paints in the code's picture."""
    code = ns.invert(model, PICTURE, SOURCE, ns.SDEdit(strength=1.0), steps=4)
    start = code.path[0]
    plan = ns.edit_steps(model, code, TARGET, guidance=3.0, mask=LEFT)._plan
    paint = plan.rows.condition.tensors[PAINT]
    assert paint.shape == (2, 5, 8, 8)  # of the source, and of the target
    torch.testing.assert_close(paint[:1], model.unpainted((8, 8)), atol=0, rtol=0)
    torch.testing.assert_close(plan.rows.null.tensors[PAINT], paint, atol=0, rtol=0)
    assert torch.equal(paint[1, 0], torch.cat([torch.ones(8, 4), torch.zeros(8, 4)], 1).double())
    decoded = model.decode(code.path[-1]).clamp(-1, 1).detach()
    with torch.no_grad():
        around = model.encode(decoded * (torch.from_numpy(LEFT) == 0))
    torch.testing.assert_close(paint[1:, 1:], around, atol=1e-10, rtol=0)
    # the network under it, against the pipeline's own call
    level = model.grid(4).level(1)
    told = plan.rows.condition.rows([1])
    with torch.no_grad():
        got = model.denoise(start, level, told).eps
        text = {"encoder_hidden_states": told.embedding}
        if "pooled" in told.tensors:
            sizes = torch.tensor([[32, 32, 0, 0, 32, 32]], dtype=torch.float64)
            text["added_cond_kwargs"] = {"text_embeds": told.tensors["pooled"], "time_ids": sizes}
        own = pipe.unet(torch.cat([start, paint[1:]], 1), level.t.float(), **text).sample
    torch.testing.assert_close(got, own, atol=1e-10, rtol=0)


def test_codes_are_exact_and_edits_are_told(model):
    code = ns.invert(model, [PICTURE, 255 - PICTURE], SOURCE, ns.EditFriendly(skip=0), steps=6)
    assert (ns.reconstruct(model, code).latents - code.path[-1]).abs().max() < 1e-8
    masks = [LEFT, 255 - LEFT]
    run = ns.edit_steps(model, code, TARGET, mask=masks, guidance=3.0)
    x = [preview.step for preview in run][-1].x
    torch.testing.assert_close(x[:, 0], code.path[-1], atol=1e-8, rtol=0)
    for i in range(2):  # row by row
        one = ns.invert(
            model, (PICTURE, 255 - PICTURE)[i], SOURCE, ns.EditFriendly(skip=0), steps=6
        )
        alone = ns.edit(model, one, TARGET, mask=masks[i], guidance=3.0).latents[0]
        torch.testing.assert_close(x[i, 1], alone, atol=1e-8, rtol=0)
    plain = ns.edit(model, code, TARGET, guidance=3.0).latents
    assert (plain[0] - x[0, 1])[:, :, :4].abs().max() > 1e-3
    for editor in (ns.PromptToPrompt(), ns.MasaCtrl(step=1, layer=0)):
        edited = ns.edit(model, code, TARGET, editor=editor, mask=masks, guidance=3.0).latents
        assert torch.isfinite(edited).all()
        assert (edited[0] - x[0, 1]).abs().max() > 1e-6


def test_a_network_without_the_channels_is_told_nothing():
    model = ns.from_pipeline(double(tiny_sd()))
    code = ns.invert(model, PICTURE, SOURCE, steps=4)
    plan = ns.edit_steps(model, code, TARGET, mask=LEFT)._plan
    assert PAINT not in plan.rows.condition.tensors
    for channels in (5, 8):
        pipe = tiny_sd()
        pipe.unet = with_inputs(pipe.unet, channels)
        with pytest.raises(InputError, match=f"takes {channels} channels"):
            ns.from_pipeline(pipe)


def test_folders_and_files_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_inpainting().save_pretrained("folder")
    whole = twin("sd15")
    whole.unet = with_inputs(whole.unet, 9)
    save_file(original_layout(whole), "one.safetensors")
    Image.fromarray(PICTURE).save("photo.png")
    Image.fromarray(LEFT).save("mask.png")
    words = ["edit", "photo.png", "--source", SOURCE, "--target", TARGET, "-o", "out.png"]
    words += ["--mask", "mask.png", "--steps", "3", "--size", "32", "--device", "cpu", "--force"]
    for name in ("folder", "one.safetensors"):
        done = CliRunner().invoke(app, [*words, "--model", name])
        assert done.exit_code == 0, done.output
        with Image.open("out.png") as picture:
            assert picture.size == (32, 32)
