"""From trained networks to a StableDiffusionPipeline folder, and from prompts to pictures."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
from torch import Tensor, nn
from transformers import CLIPTokenizer

from noisespace.models.pipeline import networks_of
from noisespace.models.pipeline_folder import hush
from noisespace.train.diffusion import SCHEDULE

Tell = Callable[[int], None]  # so many pictures more


def assemble(
    vae: AutoencoderKL, tokenizer: CLIPTokenizer, networks: nn.ModuleDict
) -> StableDiffusionPipeline:
    """The networks as a pipeline; they are shared, not copied."""
    parts: dict[str, Any] = dict(  # noqa: C408 - diffusers annotates none of these as optional
        vae=vae,
        text_encoder=networks["text_encoder"],
        tokenizer=tokenizer,
        unet=networks["unet"],
        scheduler=DDIMScheduler(**SCHEDULE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe = StableDiffusionPipeline(**parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw_prompts(
    pipe: StableDiffusionPipeline,
    prompts: Sequence[str],
    guidance: float,
    steps: int = 50,
    first_seed: int = 0,
    batch: int = 25,
    tell: Tell | None = None,
) -> Tensor:
    """One picture a prompt, (n, 3, h, w) in [-1, 1], on the CPU; seeds from ``first_seed`` on.

    ``tell`` hears of every batch how many pictures it was.
    """
    parts, call = [], cast(Any, pipe)
    for start in range(0, len(prompts), batch):
        some = list(prompts[start : start + batch])
        seeds = range(first_seed + start, first_seed + start + len(some))
        pictures = call(
            some,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            output_type="pt",
        ).images
        parts.append((pictures * 2 - 1).cpu())
        if tell:
            tell(len(some))
    return torch.cat(parts)


def export(
    pipe: StableDiffusionPipeline,
    folder: Path,
    notes: dict[str, Any],
    card: str,
    towers: tuple[Any, Any] | None = None,
    patterns: Sequence[Any] = (),
) -> None:
    """Writes the pipeline in float16 with its notes and card; the folder is there at all times.

    ``towers``: the alignment model and its tokenizer, for the folder's ``alignment``.
    ``patterns``: what captions of its pictures can be, for ``captions.json``.
    """
    hush()
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    for network in networks_of(pipe).values():
        network.to(memory_format=torch.contiguous_format)
    rounded = assemble_half(pipe)
    rounded.save_pretrained(temporary, safe_serialization=True)
    (temporary / "noisespace.json").write_text(json.dumps(notes, indent=2) + "\n", encoding="utf-8")
    (temporary / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    if patterns:
        text = json.dumps({"patterns": list(patterns)}, indent=0) + "\n"
        (temporary / "captions.json").write_text(text, encoding="utf-8")
    if towers is not None:
        save_towers(towers, temporary / "alignment")
    put_in_place(temporary, folder)


def export_alignment(towers: tuple[Any, Any], folder: Path) -> None:
    """Writes an alignment model, in float16, as a folder of its own."""
    hush()
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    save_towers(towers, temporary)
    put_in_place(temporary, folder)


def save_towers(towers: tuple[Any, Any], folder: Path) -> None:
    """The towers, their tokenizer, and what the vision tower takes pixels as."""
    module, tokenizer = towers
    copy.deepcopy(module).half().save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    taken = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    text = json.dumps(taken, indent=2) + "\n"
    (folder / "preprocessor_config.json").write_text(text, encoding="utf-8")


def put_in_place(temporary: Path, folder: Path) -> None:
    """Renames a folder that was written whole over the one that was there."""
    for file in temporary.rglob("*.safetensors"):
        file.chmod(0o644)  # safetensors makes private files
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(temporary, folder)
    shutil.rmtree(old, ignore_errors=True)


def assemble_half(pipe: StableDiffusionPipeline) -> StableDiffusionPipeline:
    """A float16 copy of the pipeline."""
    networks = nn.ModuleDict(
        {
            name: copy.deepcopy(network).half()
            for name, network in networks_of(pipe).items()
            if name != "vae"
        }
    )
    return assemble(copy.deepcopy(pipe.vae).half(), pipe.tokenizer, networks)


def load_exported(folder: Path, device: torch.device | str = "cpu") -> StableDiffusionPipeline:
    """An exported folder in float32, ready to sample on that device."""
    hush()
    pipe = StableDiffusionPipeline.from_pretrained(
        folder, torch_dtype=torch.float32, use_safetensors=True, local_files_only=True
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)
