"""Files of weights, looked at before anything opens them: suffix, header, and what they hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from noisespace.errors import InputError

PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle")
Shapes = Mapping[str, tuple[int, ...]]
# What a file holds, by names of tensors that only it has; the first that fits is it
KINDS = {
    r"hada_w|lokr_w": "a LyCORIS (LoHa or LoKr), which is not supported",
    r"dora_scale": "a DoRA, whose scales diffusers leaves out, and which is not supported",
    r"lora_|\.lora\.|\.lora_[AB]\.": "a LoRA: add it to a model with lora (--lora)",
    r"^(emb_params|clip_[lg])$": "an embedding: add it to a model with embedding (--embedding)",
    r"double_stream_modulation": "a FLUX.2 network, which is not supported yet",
    r"double_blocks\.": "a Flux network: use the folder of its diffusers pipeline",
    r"joint_blocks\.": "a Stable Diffusion 3 network: use the folder of its diffusers pipeline",
    r"^control_model\.|controlnet_": "a ControlNet, which is not supported",
    r"^conditioner\.embedders\.0\.model\.": "the refiner of SDXL, which is not supported",
    r"^edm_mean$": "Playground 2.5, whose noise levels are not supported",
    r"^(cond_stage_model|conditioner)\.": "tensors of a checkpoint: use it as a model (--model)",
    r"^model\.diffusion_model\.": "a network without the text encoder that it goes with",
    r"^(first_stage_model\.)?decoder\.conv_out\.": "an autoencoder: use it with vae (--vae)",
    r"^text_model\.|^transformer\.resblocks\.": "a text encoder alone",
    r"^(unet\.)?(down_blocks|transformer_blocks)\.": "one part of a diffusers pipeline: use the "
    "whole pipeline's folder",
}


def is_file_name(path: Path) -> bool:
    """Whether a path is a file, or its suffix says that it should be one: no Hub id, no folder."""
    return path.is_file() or path.suffix.lower() in (".safetensors", ".gguf", *PICKLES)


def check_weight_file(path: Path) -> Path:
    """The path of a .safetensors file that exists.

    Raises InputError by the suffix, without opening it, for a pickle and every other kind.
    """
    suffix = path.suffix.lower()
    if suffix in PICKLES:
        raise InputError(
            f"{path.name}: {suffix} files are pickles, which could run code when they are opened; "
            "convert it to .safetensors"
        )
    if suffix == ".gguf":
        raise InputError(f"{path.name}: .gguf is not supported; use the model as .safetensors")
    if path.suffix != ".safetensors":
        raise InputError(
            f"{path.name}: expected a .safetensors file, got the suffix {path.suffix!r}"
        )
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    return path


def header_of(path: Path) -> tuple[Shapes, Mapping[str, str]]:
    """The shapes of a file's tensors by name, and its notes; no tensor is read.

    The header is checked by safetensors: at most 100 MB, and tensors that end with the file.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
            return shapes, file.metadata() or {}
    except Exception as error:  # SafetensorError, OSError
        raise InputError(f"{path}: is damaged or no .safetensors file: {error}") from None


def kind_of_file(shapes: Shapes) -> str:
    """What a file holds, in words."""
    for pattern, kind in KINDS.items():
        if any(re.search(pattern, key) for key in shapes):
            return kind
    first = next(iter(sorted(shapes)), None)
    return "nothing known here" + (f" (its first tensor is {first})" if first else "")
