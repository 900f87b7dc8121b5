"""diffusers' own editing pipelines beside the library's equivalents, on the same weights.

DDIM img2img beside SDEdit, LEDITS++ beside edit-friendly inversion and its edit, DiffEdit beside
DDIM inversion under the DiffEdit editor: the same steps, as many of them run, the same guidance.
They differ in detail (schedules, masks), so that only their cost is compared. A pipeline that does
not run on these weights is left out, and the environment of the results says why.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import diffusers
import torch
from PIL import Image
from sides import SOURCE, TARGET, Pair

import noisespace as ns
from noisespace.bench.scenes import scene_edits

GUIDANCE = 7.5
STRENGTH = 0.8  # the share of the steps that img2img and DiffEdit run
SKIP = 0.36


def built(name: str, model: Any, scheduler: Any) -> Any:
    """A pipeline by name around a model's parts."""
    kind = getattr(diffusers, name)
    parts: dict[str, Any] = {
        "unet": model.unet,
        "vae": model.vae,
        "text_encoder": model.text_encoder,
        "tokenizer": model.tokenizer,
        "scheduler": scheduler,
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }
    if name == "StableDiffusionDiffEditPipeline":
        parts["inverse_scheduler"] = diffusers.DDIMInverseScheduler.from_config(scheduler.config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations are not what is measured
        pipe = kind(**parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def ddim(model: Any) -> Any:
    return diffusers.DDIMScheduler.from_config(dict(model.scheduler))


def img2img(model: Any, picture: Image.Image, steps: int) -> Pair:
    pipe = built("StableDiffusionImg2ImgPipeline", model, ddim(model))

    def theirs() -> Any:
        drawn = torch.Generator().manual_seed(0)
        options = {"strength": STRENGTH, "num_inference_steps": steps, "generator": drawn}
        return pipe(TARGET, picture, guidance_scale=GUIDANCE, **options).images

    def ours() -> Any:
        code = ns.invert(model, picture, SOURCE, ns.SDEdit(STRENGTH), steps=steps)
        return ns.edit(model, code, TARGET, guidance=GUIDANCE).images

    return Pair("diffusers: DDIM img2img", ours, theirs)


def ledits(model: Any, picture: Image.Image, steps: int) -> Pair:
    scheduler = diffusers.DPMSolverMultistepScheduler.from_config(
        dict(model.scheduler), algorithm_type="sde-dpmsolver++", solver_order=2
    )
    pipe = built("LEditsPPPipelineStableDiffusion", model, scheduler)

    def theirs() -> Any:
        drawn = torch.Generator().manual_seed(0)
        inverting = {"num_inversion_steps": steps, "skip": SKIP, "generator": drawn}
        pipe.invert(picture, source_prompt=SOURCE, source_guidance_scale=3.5, **inverting)
        editing = {"edit_guidance_scale": [GUIDANCE], "edit_threshold": [0.9]}
        return pipe(editing_prompt=[TARGET], use_intersect_mask=False, **editing).images

    def ours() -> Any:
        method = ns.EditFriendly(skip=SKIP)
        code = ns.invert(model, picture, SOURCE, method, steps=steps, guidance=3.5)
        return ns.edit(model, code, TARGET, guidance=GUIDANCE).images

    return Pair("diffusers: LEDITS++", ours, theirs)


def diffedit(model: Any, picture: Image.Image, steps: int) -> Pair:
    pipe = built("StableDiffusionDiffEditPipeline", model, ddim(model))

    def theirs() -> Any:
        drawn = torch.Generator().manual_seed(0)
        often = {"num_inference_steps": steps, "generator": drawn}
        mask = pipe.generate_mask(picture, TARGET, source_prompt=SOURCE, **often)
        share = {"inpaint_strength": STRENGTH, "guidance_scale": 1.0}
        inverted = pipe.invert(SOURCE, picture, **share, **often).latents
        options = {"inpaint_strength": STRENGTH, "guidance_scale": GUIDANCE}
        return pipe(TARGET, mask, inverted, **options, **often).images

    def ours() -> Any:
        code = ns.invert(model, picture, SOURCE, ns.DDIM(stop=STRENGTH), steps=steps)
        return ns.edit(model, code, TARGET, guidance=GUIDANCE, editor=ns.DiffEdit()).images

    return Pair("diffusers: DiffEdit", ours, theirs)


def running(model: Any, steps: int) -> tuple[list[Pair], dict[str, str]]:
    """The pairs whose pipeline runs on the model, and of the others why not."""
    picture, found, failed = scene_edits(1)[0].scene.render(), [], {}
    builders: list[Callable[..., Pair]] = [img2img, ledits, diffedit]
    for make in builders:
        try:
            pair = make(model, Image.fromarray(picture), 4)
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pair.baseline()
        except Exception as error:  # a pipeline fails in its own ways
            failed[make.__name__] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        else:
            found.append(make(model, Image.fromarray(picture), steps))
    return found, failed
