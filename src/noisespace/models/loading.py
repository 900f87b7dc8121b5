"""Loading a model by name: embedded, a folder, a single file or a Hub id."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from noisespace.errors import InputError
from noisespace.models.additions import Additions, Names
from noisespace.models.autoencoder import overflows
from noisespace.models.memory import Memory, free_memory, parameters_of
from noisespace.models.pipeline_folder import (
    check_folder,
    load_part,
    read_json,
)
from noisespace.models.quantised import BITS, parts_in_bits, quantising
from noisespace.models.weight_file import check_weight_file, is_file_name

EMBEDDED = {name: Path(__file__).parent / "embedded" / name for name in ("scenes", "photos")}
PREDICTIONS = ("epsilon", "v_prediction")
DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def load(
    name: str | os.PathLike,
    dtype: str = "auto",
    device: str = "auto",
    *,
    preset: str | None = None,
    compile: bool = False,
    offload: str | None = None,
    cache: int | None = None,
    tiling: bool = False,
    quantize: str | None = None,
    lora: Names = None,
    embedding: Names = None,
    vae: str | os.PathLike | None = None,
    prediction: str | None = None,
    weights: str | None = None,
    clip_skip: int | None = None,
) -> Any:
    """A model by name ("scenes", "photos"), folder (a diffusers pipeline), file or Hub id.

    A file is a .safetensors checkpoint of Stable Diffusion 1.x, 2.x or XL; a Hub id "owner/name".

    ``dtype``: "float32", "float64", "bfloat16", "float16" (not on a CPU), "mixed", float32 weights
    under the device's autocast, or "auto": what the preset takes, or else what the family wants on
    CUDA (16 bits for latent models that are not embedded), float32 elsewhere. ``device``: "auto",
    "cpu", "cuda", "cuda:1", "mps". Speed and memory (docs/performance.md): ``preset`` "fast" or
    "exact"; ``compile`` by torch.compile, with CUDA graphs on CUDA; ``offload`` "none", "parts" or
    "layers" to the CPU; ``cache``, deep features kept for so many steps; ``tiling`` of the
    autoencoder; ``quantize`` "8bit" or "4bit", the linear layers of network and T5, of folders on
    CUDA, by bitsandbytes.

    Added to it: ``lora``, files as "FILE" or "FILE:SCALE", fused into the weights; ``embedding``,
    files of textual inversions, whose tokens prompts may use then ("<file's name>", or as the file
    names it); ``vae``, an autoencoder's folder, file or Hub id in the place of its own.
    ``prediction``: "epsilon" or "v_prediction", in the place of what is known of the model.

    How prompts are read: ``weights`` "forge" or "comfyui" for those who write "a (red:1.3) cat" as
    there (None: brackets are text); ``clip_skip``, how many layers of CLIP are skipped beyond what
    the model's pipeline reads, as diffusers counts them: Stable Diffusion WebUI's "Clip skip 2" is
    1 (on SDXL 0, which reads that layer anyhow). Both change what a code means, and with it the
    model's fingerprint.

    Raises InputError, in one sentence, for anything that is not a supported pipeline in
    safetensors; no pickle is opened and no code of the folder is run.
    """
    from noisespace.models.speed import Speed
    from noisespace.models.text import Reading

    place, given = where(device), str(dtype).removeprefix("torch.")
    speed = Speed(given, preset, compile, offload, cache, tiling, quantize).on(place)
    known = {"mixed": "float32", "auto": "float32"}
    kind = precision(known.get(speed.dtype, speed.dtype))
    if kind == torch.float16 and place.type == "cpu":
        raise InputError("float16 does not run on a CPU: use float32 or bfloat16")
    if kind == torch.float64 and place.type == "mps":
        raise InputError("float64 does not run on MPS: use float32, or device cpu")
    added = Additions.of(lora, embedding, vae)
    if prediction not in (None, *PREDICTIONS):
        raise InputError(f"prediction must be {' or '.join(PREDICTIONS)}, got {prediction!r}")
    Reading.of(weights, clip_skip)
    if quantize and added.lora:
        raise InputError("a LoRA is fused into whole weights: leave out quantize, or lora")
    half = kind.itemsize == 2 or (speed.dtype == "auto" and place.type == "cuda")
    source = find(str(name), half)
    counts = parameters_of(source)
    if speed.dtype == "auto":
        kind = usual_dtype(str(name) in EMBEDDED, counts, place)
        speed = replace(speed, dtype=str(kind).removeprefix("torch."))
    bits = in_bits(source, quantize)
    sizes = {part: count * bits.get(part, 8 * kind.itemsize) / 8 for part, count in counts.items()}
    free = free_memory(place)
    memory = Memory(sizes, kind.itemsize, place, free, speed.offload, speed.tiling)
    if memory.needed() > free:
        warnings.warn(f"{public_name(str(name))}: {memory.sentence()}", stacklevel=2)
    read = load_file if source.is_file() else load_folder
    index, loaded = read(source, kind, added.vae, prediction, quantize)
    added.add(index["_class_name"], loaded)
    from noisespace.models.pipeline import from_pipeline

    for part in loaded.values():
        if isinstance(part, torch.nn.Module):
            part.eval().requires_grad_(False)
    if loaded.get("vae") is not None and overflows(loaded["vae"]):
        loaded["vae"].to(torch.float32)
    speed.place(loaded, place)
    notes, alignment = source / "noisespace.json", source / "alignment"
    own = read_json(notes).get("defaults", {}) if notes.exists() else {}
    pipe = SimpleNamespace(config=index, **loaded)
    model = from_pipeline(pipe, public_name(str(name)), own, weights=weights, clip_skip=clip_skip)
    model = replace(
        model,
        alignment_folder=alignment if alignment.is_dir() else None,
        additions={**added.record(), **model.additions},
        memory=memory,
    )
    return speed.apply(model, place)


def usual_dtype(embedded: bool, parts: Collection[str], place: torch.device) -> torch.dtype:
    """The dtype that a model of these parts wants on a device: on CUDA 16 bits where it is large.

    Transformers in bfloat16: T5, which reads for them, overflows in float16. U-Nets of latents in
    float16, which rounds eight times finer.
    """
    latent = "text_encoder" in parts or "transformer" in parts
    if place.type != "cuda" or embedded or not latent:
        return torch.float32
    return torch.bfloat16 if "transformer" in parts else torch.float16


Read = tuple[Mapping[str, Any], dict[str, Any]]  # a model_index, and the parts by name


def in_bits(source: Path, quantize: str | None) -> dict[str, int]:
    """The bits of each part's weights, where it is quantised."""
    if quantize is None:
        return {}
    if source.is_file():
        raise InputError(f"{source.name}: quantize is for folders; use dtype, or offload")
    return dict.fromkeys(parts_in_bits(check_folder(source)), BITS[quantize])


def load_file(
    path: Path, dtype: torch.dtype, vae: str | None, prediction: str | None, quantize: str | None
) -> Read:
    from noisespace.models.single_file import load_single_file

    return load_single_file(path, dtype, vae, prediction)


def load_folder(
    folder: Path, dtype: torch.dtype, vae: str | None, prediction: str | None, quantize: str | None
) -> Read:
    named = check_folder(folder)
    parts: dict[str, Any] = {}
    if vae is not None:
        from noisespace.models.autoencoder_file import load_autoencoder

        if "vae" not in named:
            raise InputError(f"{folder}: has no autoencoder that vae could stand in for")
        parts["vae"] = load_autoencoder(vae, read_json(folder / "vae" / "config.json"), dtype)
    bits = in_bits(folder, quantize)
    for part, cls in named.items():
        if part not in parts:
            more = quantising(part, str(quantize), dtype) if part in bits else {}
            parts[part] = load_part(folder, part, cls, dtype, more)
    if prediction is not None:
        if "prediction_type" not in parts["scheduler"].config:
            raise InputError(f"{folder}: is a flow, for which prediction says nothing")
        parts["scheduler"].register_to_config(prediction_type=prediction)
    return read_json(folder / "model_index.json"), parts


def public_name(name: str) -> str:
    """What a record says of a model: a name or Hub id as it is, a path's last part."""
    return Path(name).expanduser().resolve().name if Path(name).expanduser().exists() else name


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
        known = ", ".join(DTYPES)
        raise InputError(f"dtype {dtype!r} is not known: use one of auto, {known}, mixed")
    return kind


def find(name: str, half: bool = False) -> Path:
    """The folder or file of a model, downloaded where it is a Hub id (no pickles, no code).

    ``half``: whether weights in 16 bits will do.
    """
    if name in EMBEDDED:
        return EMBEDDED[name]
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if is_file_name(path):
        return check_weight_file(path)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or name.startswith("."):
        known = ", ".join(EMBEDDED)
        raise InputError(
            f"model {name!r} is not known: expected {known}, a folder with a diffusers pipeline, "
            "a .safetensors file, or a Hub id such as owner/name"
        )
    from noisespace.models.hub import fetch

    return fetch(name, half)
