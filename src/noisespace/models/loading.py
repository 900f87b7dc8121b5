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
