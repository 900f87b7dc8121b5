"""Loading a model folder or Hub id safely: safetensors only, known classes only, no remote code."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from noisespace.errors import InputError
from noisespace.models.schedules import check_scheduler

EMBEDDED = {name: Path(__file__).parent / "embedded" / name for name in ("scenes", "photos")}
UNET = ("unet", "vae", "scheduler")
CLIP, CLIP_2 = ("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2")
T5 = ("text_encoder_3", "tokenizer_3")
TRANSFORMER = ("transformer", "vae", "scheduler")
PIPELINES = {
    **dict.fromkeys(("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"), (*UNET, *CLIP)),
    "LatentConsistencyModelPipeline": (*UNET, *CLIP),
    **dict.fromkeys(
        ("StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline"), (*UNET, *CLIP, *CLIP_2)
    ),
    "StableDiffusion3Pipeline": (*TRANSFORMER, *CLIP, *CLIP_2, *T5),
    "FluxPipeline": (*TRANSFORMER, *CLIP, *CLIP_2),
    **dict.fromkeys(("DDPMPipeline", "DDIMPipeline", "PNDMPipeline"), ("unet", "scheduler")),
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
# What is fetched of a repository, which often holds the same weights three times over, and those of
# parts that nobody calls: a pipeline's parts in their folders, or one model (CLIP, BLIP) at the top
FILES = [
    *("*.json", "vocab.txt", "merges.txt", "model.safetensors", "model-*.safetensors"),
    *(
        f"{part}/*{suffix}"
        for part in dict.fromkeys(part for parts in PIPELINES.values() for part in parts)
        for suffix in (".json", ".txt", ".model", ".safetensors")
    ),
]
# "model.safetensors", "model.fp16.safetensors", and the same in shards
PLAIN = re.compile(
    r"(?:diffusion_pytorch_)?model(?:-\d+-of-\d+)?(?:\.(?P<variant>\w+))?(?:-\d+-of-\d+)?\.safetensors"
)
CORRECTED = {"steps_offset": 1, "clip_sample": False}
MAX_JSON = 2**20
DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def load(
    name: str | os.PathLike,
    dtype: str = "float32",
    device: str = "auto",
    *,
    preset: str | None = None,
    compile: bool = False,
    offload: str | None = None,
    cache: int | None = None,
    tiling: bool = False,
) -> Any:
    """A model by name ("scenes", "photos"), folder (a diffusers pipeline) or Hub id ("owner/name").

    ``dtype``: "float32" (or what the preset takes), "float64", "bfloat16", "float16" (not on a
    CPU), or "mixed", float32 weights under the device's autocast; ``device``: "auto", "cpu",
    "cuda", "cuda:1", "mps". Speed and memory (docs/performance.md): ``preset`` "fast" or "exact";
    ``compile`` by torch.compile, with CUDA graphs on CUDA; ``offload`` "parts" or "layers" to the
    CPU; ``cache``, deep features kept for so many steps; ``tiling`` of the autoencoder.

    Raises InputError, in one sentence, for anything that is not a supported pipeline in
    safetensors; no pickle is opened and no code of the folder is run.
    """
    from noisespace.models.speed import Speed

    place, given = where(device), str(dtype).removeprefix("torch.")
    speed = Speed(given, preset, compile, offload, cache, tiling).on(place)
    kind = precision("float32" if speed.dtype == "mixed" else speed.dtype)
    if kind == torch.float16 and place.type == "cpu":
        raise InputError("float16 does not run on a CPU: use float32 or bfloat16")
    if kind == torch.float64 and place.type == "mps":
        raise InputError("float64 does not run on MPS: use float32, or device cpu")
    folder = find(str(name))
    parts = check_folder(folder)
    from noisespace.models.pipeline import from_pipeline

    loaded = {k: load_part(folder, k, named, kind) for k, named in parts.items()}
    for part in loaded.values():
        if isinstance(part, torch.nn.Module):
            part.eval().requires_grad_(False)
    speed.place(loaded, place)
    notes, alignment = folder / "noisespace.json", folder / "alignment"
    own = read_json(notes).get("defaults", {}) if notes.exists() else {}
    pipe = SimpleNamespace(config=read_json(folder / "model_index.json"), **loaded)
    model = from_pipeline(pipe, public_name(str(name)), own)
    model = replace(model, alignment_folder=alignment if alignment.is_dir() else None)
    return speed.apply(model, place)


def public_name(name: str) -> str:
    """What a record says of a model: a name or Hub id as it is, a folder without its path."""
    return Path(name).expanduser().resolve().name if Path(name).expanduser().is_dir() else name


def where(device: str) -> torch.device:
    """A device by name; "auto" is CUDA, then MPS, then the CPU."""
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError:
        raise InputError(f"device {device!r} is not known: use auto, cpu, cuda or mps") from None
    there = {"cpu": True, "cuda": torch.cuda.is_available()}
    there["mps"] = torch.backends.mps.is_available()
    if not there.get(place.type, False):
        raise InputError(f"device {device!r} is not available on this machine: use auto or cpu")
    return place


def precision(dtype: str | torch.dtype) -> torch.dtype:
    kind = DTYPES.get(str(dtype).removeprefix("torch."))
    if kind is None:
        raise InputError(f"dtype {dtype!r} is not known: use one of {', '.join(DTYPES)}, mixed")
    return kind


def find(name: str) -> Path:
    """The folder of a model, downloaded where it is a Hub id (no pickles, no code)."""
    if name in EMBEDDED:
        return EMBEDDED[name]
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise InputError(f"{name}: is a file; expected the folder of a diffusers pipeline")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or name.startswith("."):
        known = ", ".join(EMBEDDED)
        raise InputError(
            f"model {name!r} is not known: expected {known}, a folder with a diffusers pipeline, "
            "or a Hub id such as owner/name"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=FILES))
    except Exception as error:  # the Hub's client raises a dozen kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"model {name!r} is no folder here and could not be fetched from the Hub: {reason}"
        ) from None


def check_folder(folder: Path) -> dict[str, str | None]:
    """part -> class name, from model_index.json, everything allow-listed and present."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise InputError(
            f"{folder}: is no diffusers pipeline (no model_index.json); expected a folder that "
            "save_pretrained wrote"
        )
    listed = read_json(index)
    kind = str(listed.get("_class_name"))
    if kind not in PIPELINES:
        raise InputError(
            f"{folder}: the pipeline class {kind} is not supported; expected one of "
            + ", ".join(PIPELINES)
        )
    parts: dict[str, str | None] = {}
    for part in PIPELINES[kind]:
        entry = listed.get(part)
        named = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
        if named is None and part in T5:
            parts[part] = None  # left out, as its pipeline allows
            continue
        if part == "scheduler":
            check_scheduler(str(named))
        elif named not in (known := CLASSES[kind_of(part)]):
            raise InputError(
                f"{folder}: the class {named} of its {part} is not supported; expected "
                + " or ".join(known)
            )
        parts[part] = str(named)
        check_part(folder, part)
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


def load_part(folder: Path, part: str, named: str | None, dtype: torch.dtype) -> Any:
    """One part of a pipeline, by the class that is allow-listed for its name."""
    import importlib

    if named is None:
        return None
    what = f"{folder}: {part}"
    if part == "scheduler":
        config = read_json(folder / part / "scheduler_config.json")
        scheduler = getattr(importlib.import_module("diffusers"), named.removeprefix("Flax"))
        made = quietly(lambda: scheduler.from_config(config), what)
        if read_json(folder / "model_index.json")["_class_name"] == "StableDiffusionPipeline":
            # as that pipeline has them, whatever an old config says
            made.register_to_config(**{k: v for k, v in CORRECTED.items() if k in made.config})
        return made
    kind = kind_of(part)
    cls = getattr(importlib.import_module(CLASSES[kind][named]), named)
    options: dict[str, Any] = {"local_files_only": True}
    if kind != "tokenizer":
        options |= {"use_safetensors": True, "torch_dtype": dtype, **variant(folder / part)}
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
