"""Folders of diffusers pipelines, read safely: safetensors and known classes, no code of theirs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from noisespace.errors import InputError
from noisespace.models.schedules import check_scheduler

UNET = ("unet", "vae", "scheduler")
CLIP, CLIP_2 = ("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2")
T5 = ("text_encoder_3", "tokenizer_3")
TRANSFORMER = ("transformer", "vae", "scheduler")
PIPELINES = {
    **dict.fromkeys(
        (
            "StableDiffusionPipeline",
            "StableDiffusionImg2ImgPipeline",
            "StableDiffusionInpaintPipeline",
        ),
        (*UNET, *CLIP),
    ),
    "LatentConsistencyModelPipeline": (*UNET, *CLIP),
    **dict.fromkeys(
        (
            "StableDiffusionXLPipeline",
            "StableDiffusionXLImg2ImgPipeline",
            "StableDiffusionXLInpaintPipeline",
        ),
        (*UNET, *CLIP, *CLIP_2),
    ),
    "StableDiffusion3Pipeline": (*TRANSFORMER, *CLIP, *CLIP_2, *T5),
    "FluxPipeline": (*TRANSFORMER, *CLIP, *CLIP_2),
    **dict.fromkeys(("DDPMPipeline", "DDIMPipeline", "PNDMPipeline"), ("unet", "scheduler")),
}
# What people ask for and get a reason
NOT_YET = {
    "Flux2Pipeline": "FLUX.2 reads prompts by a language model, and its latents are patches",
    "FluxKontextPipeline": "FLUX.1 Kontext is told a picture beside the prompt",
    "QwenImagePipeline": "Qwen-Image reads prompts by a language model",
    "QwenImageEditPipeline": "Qwen-Image-Edit is told a picture beside the prompt",
    "ZImagePipeline": "Z-Image reads prompts by a language model",
    **dict.fromkeys(
        ("WanPipeline", "WanImageToVideoPipeline"), "Wan makes videos, and pictures are edited here"
    ),
}
# part -> classes named in model_index.json that it may be of
ENCODERS = {
    "CLIPTextModel": "transformers",
    "CLIPTextModelWithProjection": "transformers",
    "T5EncoderModel": "transformers",
}
TOKENIZERS = {
    "CLIPTokenizer": "transformers",
    "CLIPTokenizerFast": "transformers",
    "T5Tokenizer": "transformers",
    "T5TokenizerFast": "transformers",
}
CLASSES: dict[str, dict[str, str]] = {
    "unet": dict.fromkeys(("UNet2DConditionModel", "UNet2DModel"), "diffusers"),
    "transformer": dict.fromkeys(("SD3Transformer2DModel", "FluxTransformer2DModel"), "diffusers"),
    "vae": {"AutoencoderKL": "diffusers"},
    "text_encoder": ENCODERS,
    "tokenizer": TOKENIZERS,
}
# "model.safetensors", "model.fp16.safetensors", and the same in shards
PLAIN = re.compile(
    r"(?:diffusion_pytorch_)?model(?:-\d+-of-\d+)?(?:\.(?P<variant>\w+))?(?:-\d+-of-\d+)?\.safetensors"
)
# Solvers that want further packages -> classes of the same defaults; solvers are left out anyway
NEEDLESS = {
    "LMSDiscreteScheduler": "EulerDiscreteScheduler",
    "DPMSolverSDEScheduler": "KDPM2DiscreteScheduler",
}
CORRECTING = ("StableDiffusionPipeline", "StableDiffusionInpaintPipeline")
CORRECTED = {"steps_offset": 1, "clip_sample": False}
MAX_JSON = 2**20


def check_folder(folder: Path) -> dict[str, str | None]:
    """part -> class name, from model_index.json, everything allow-listed and present."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise InputError(
            f"{folder}: is no diffusers pipeline (no model_index.json); expected a folder that "
            "save_pretrained wrote"
        )
    parts = check_index(read_json(index), str(folder))
    for part, named in parts.items():
        if named is not None:
            check_part(folder, part)
    return parts


def check_index(listed: Mapping[str, Any], name: str) -> dict[str, str | None]:
    """part -> class name of what a model_index.json lists, everything allow-listed."""
    kind = str(listed.get("_class_name"))
    if kind in NOT_YET:
        raise InputError(f"{name}: {kind} is known, but not supported yet: {NOT_YET[kind]}")
    if kind not in PIPELINES:
        raise InputError(
            f"{name}: the pipeline class {kind} is not supported; expected one of "
            + ", ".join(PIPELINES)
        )
    parts: dict[str, str | None] = {}
    for part in PIPELINES[kind]:
        entry = listed.get(part)
        named = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
        if named is None and part in T5:
            parts[part] = None  # left out, as its pipeline allows
            continue
        if named is None:
            raise InputError(
                f"{name}: {part} is missing (model_index.json names none), and a {kind} does not "
                "work without it; get the whole pipeline"
            )
        if part == "scheduler":
            check_scheduler(str(named))
        elif named not in (known := CLASSES[kind_of(part)]):
            raise InputError(
                f"{name}: the class {named} of its {part} is not supported; expected "
                + " or ".join(known)
            )
        parts[part] = str(named)
    return parts


def kind_of(part: str) -> str:
    """Which kind of part it is: "text_encoder_2" is a "text_encoder"."""
    return re.sub(r"_\d$", "", part)


def check_part(folder: Path, part: str) -> None:
    """Raises InputError where a file of a part is missing, or its weights are pickles only."""
    inside = folder / part
    config = {"scheduler": "scheduler_config.json", "tokenizer": "tokenizer_config.json"}
    needed = inside / config.get(kind_of(part), "config.json")
    if not needed.is_file():
        raise InputError(f"{folder}: the file {part}/{needed.name} is missing")
    if kind_of(part) in config:
        return
    if not list(inside.glob("*.safetensors")):
        pickles = list(inside.glob("*.bin")) + list(inside.glob("*.ckpt"))
        reason = (
            f"has its weights only as a pickle ({pickles[0].name}), which could run code; convert "
            "it with save_pretrained(safe_serialization=True)"
            if pickles
            else "has no weights (*.safetensors)"
        )
        raise InputError(f"{folder}: {part} {reason}")


def load_part(
    folder: Path, part: str, named: str | None, dtype: torch.dtype, more: Mapping[str, Any]
) -> Any:
    """One part of a pipeline, by the class that is allow-listed for its name.

    ``more``: what else ``from_pretrained`` is told.
    """
    import importlib

    if named is None:
        return None
    what = f"{folder}: {part}"
    if part == "scheduler":
        config = read_json(folder / part / "scheduler_config.json")
        name = NEEDLESS.get(named, named).removeprefix("Flax")
        scheduler = getattr(importlib.import_module("diffusers"), name)
        made = quietly(lambda: scheduler.from_config(config), what)
        if read_json(folder / "model_index.json")["_class_name"] in CORRECTING:
            # as that pipeline has them, whatever an old config says
            made.register_to_config(**{k: v for k, v in CORRECTED.items() if k in made.config})
        return made
    kind = kind_of(part)
    cls = getattr(importlib.import_module(CLASSES[kind][named]), named)
    options: dict[str, Any] = {"local_files_only": True}
    if kind != "tokenizer":
        options |= {"use_safetensors": True, "torch_dtype": dtype, **variant(folder / part), **more}
    return quietly(lambda: cls.from_pretrained(str(folder / part), **options), what)


def variant(inside: Path) -> dict[str, str]:
    """The weights' variant, where only one with a suffix such as .fp16 is there."""
    names = [file.name for file in inside.glob("*.safetensors")]
    found = [PLAIN.fullmatch(name) for name in names]
    variants = {match["variant"] for match in found if match}
    return {} if None in variants or not variants else {"variant": min(variants)}


def quietly(make: Callable[[], Any], what: str) -> Any:
    """Calls a loader without its chatter; any failure becomes one sentence."""
    os.environ["DIFFUSERS_DISABLE_REMOTE_CODE"] = "1"
    hush()
    try:
        return make()
    except Exception as error:  # damaged files fail in a dozen ways
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{what} could not be loaded: {reason}") from None


def hush() -> None:
    """Ends the notes and progress bars that diffusers and transformers have for every file."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.set_verbosity_error()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    diffusers_logging.disable_progress_bar()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of at most 1 MiB."""
    try:
        if path.stat().st_size > MAX_JSON:
            raise InputError(f"{path}: is larger than 1 MiB, which no configuration is")
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object")
    return value
