"""Every family of networks against its own pipeline of diffusers, and what all of them can do."""

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

import noisespace as ns
from noisespace.errors import InputError
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
