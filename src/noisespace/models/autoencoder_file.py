"""An autoencoder in the place of a model's own: a folder, a Hub id, or a single file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from noisespace.errors import InputError
from noisespace.models.pipeline_folder import check_part, quietly, read_json, variant
from noisespace.models.weight_file import Shapes, check_weight_file, header_of, kind_of_file

# A level's first layer, in the original layout and in diffusers'
LEVEL = re.compile(
    r"(?:first_stage_model\.)?encoder\.(?:down\.(\d+)\.block|down_blocks\.(\d+)\.resnets)"
    r"\.0\.conv1\.weight"
)
LATENT = re.compile(r"(?:first_stage_model\.)?decoder\.conv_in\.weight")
RENAMED = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}


def load_autoencoder(name: str, own: Mapping[str, Any], dtype: torch.dtype) -> Any:
    """The autoencoder by name, for a model whose own has the config ``own``.

    A single file does not tell how latents are scaled: as the model's own are.

    Raises InputError for one whose latents have other channels or another size.
    """
    from diffusers import AutoencoderKL

    from noisespace.models.loading import find

    place = find(name)
    if (place / "vae").is_dir():  # a whole pipeline's
        place = place / "vae"
    if place.is_file():
        shapes, _ = header_of(check_weight_file(place))
        widths = autoencoder_widths(shapes)
        if not all(widths.values()):
            raise InputError(f"{place.name}: holds no autoencoder, but {kind_of_file(shapes)}")
        config = {**own, **widths}
    else:
        check_part(place, "")
        config = read_json(place / "config.json")
    check_fit(config, own, place.name)
    if place.is_dir():
        options = {"local_files_only": True, "use_safetensors": True, "torch_dtype": dtype}
        options |= variant(place)
        return quietly(lambda: AutoencoderKL.from_pretrained(str(place), **options), str(place))
    with TemporaryDirectory(prefix="noisespace-") as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config), encoding="utf-8")
        weights: Any = read_weights(place)
        options = {"config": folder, "torch_dtype": dtype, "local_files_only": True}
        vae = quietly(lambda: AutoencoderKL.from_single_file(weights, **options), place.name)
    missing = [key for key, tensor in vae.named_parameters() if tensor.is_meta]
    if missing:
        raise InputError(f"{place.name}: the autoencoder is not whole: no {missing[0]}")
    return vae


def check_fit(config: Mapping[str, Any], own: Mapping[str, Any], name: str) -> None:
    if config.get("_class_name") != "AutoencoderKL":
        raise InputError(
            f"{name}: expected an AutoencoderKL, got {config.get('_class_name') or 'no class'}"
        )
    got = config.get("latent_channels", 4), len(config.get("block_out_channels", ()))
    expected = own.get("latent_channels", 4), len(own.get("block_out_channels", ()))
    if got != expected:
        raise InputError(
            f"{name}: its latents have {got[0]} channels in {got[1]} levels, the model's have "
            f"{expected[0]} in {expected[1]}: it is another model's autoencoder"
        )


def autoencoder_widths(shapes: Shapes) -> dict[str, Any]:
    """Channels of an autoencoder's levels and of its latents, in either layout."""
    levels = {
        int(found[1] or found[2]): shape[0]
        for key, shape in shapes.items()
        if (found := LEVEL.fullmatch(key))
    }
    latent = [shape[1] for key, shape in shapes.items() if LATENT.fullmatch(key)]
    return {
        "block_out_channels": [levels[level] for level in sorted(levels)],
        "latent_channels": latent[0] if latent else None,
    }


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file, attention by the names that diffusers has today."""
    from safetensors.torch import load_file

    weights = {}
    for key, tensor in load_file(path).items():
        for old, new in RENAMED.items():
            key = key.replace(old, new) if "mid_block" in key else key
        weights[key] = tensor
    return weights
