"""diffusers' own pipelines on the same weights: DDIM with img2img, LEDITS++, DiffEdit."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    DDIMInverseScheduler,
    DPMSolverMultistepScheduler,
    LEditsPPPipelineStableDiffusion,
    StableDiffusionDiffEditPipeline,
    StableDiffusionImg2ImgPipeline,
)
from networks import SCHEDULE, pipeline
from PIL import Image


def img2img(model: Any, image: Image.Image, target: str, steps: int, strength: float, w: float):
    """DDIM from a noising of the picture: SDEdit (arXiv 2108.01073)."""
    pipe = pipeline(StableDiffusionImg2ImgPipeline, model)
    return pipe(
        target,
        image=image,
        strength=strength,
        num_inference_steps=steps,
        guidance_scale=w,
        generator=torch.Generator().manual_seed(0),
    ).images[0]


def ledits(model: Any, image: Image.Image, source: str, target: str, steps: int, skip: float):
    """LEDITS++ (arXiv 2311.16711): edit-friendly inversion and an edit towards the target."""
    # with a DDIMScheduler its inversion fails in diffusers 0.42 (a float index)
    kinds = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "steps_offset")
    known = {k: SCHEDULE[k] for k in kinds}
    solver = {"algorithm_type": "sde-dpmsolver++", "solver_order": 2}
    scheduler = DPMSolverMultistepScheduler(**known, **solver)  # LEDITS++'s own
    pipe = pipeline(LEditsPPPipelineStableDiffusion, model, scheduler)
    settings: dict[str, Any] = {"height": image.height, "width": image.width}
    pipe.invert(
        image=image,
        source_prompt=source,
        num_inversion_steps=steps,
        skip=skip,
        source_guidance_scale=3.5,
        generator=torch.Generator().manual_seed(0),
        **settings,
    )
    return pipe(editing_prompt=[target], edit_guidance_scale=[5.0], edit_threshold=[0.8]).images[0]


def diffedit(model: Any, image: Image.Image, source: str, target: str, steps: int, w: float):
    """DiffEdit (arXiv 2210.11427): a mask from both prompts, DDIM inversion, a masked edit."""
    inverse = DDIMInverseScheduler(**{**SCHEDULE, "clip_sample": False})
    pipe = pipeline(StableDiffusionDiffEditPipeline, model, inverse_scheduler=inverse)
    drawn = torch.Generator().manual_seed(0)
    mask = pipe.generate_mask(
        image=image,
        source_prompt=source,
        target_prompt=target,
        num_inference_steps=steps,
        guidance_scale=w,
        generator=drawn,
    )
    latents = pipe.invert(
        prompt=source, image=image, num_inference_steps=steps, guidance_scale=1.0, generator=drawn
    ).latents
    return pipe(
        prompt=target,
        mask_image=mask,
        image_latents=latents,
        num_inference_steps=steps,
        guidance_scale=w,
        generator=drawn,
    ).images[0]
