"""Checkpoints in one file, as model-sharing sites have them: Stable Diffusion 1.x, 2.x and XL.

diffusers converts the names of the original layout. What it would fetch from the Hub comes with the
package (``configs/``); widths are read from the file, so that any model of the architecture loads.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from noisespace.core.condition import END
from noisespace.errors import InputError
from noisespace.models.autoencoder_file import autoencoder_widths, load_autoencoder
from noisespace.models.clip_tokenizer import clip_tokenizer
from noisespace.models.pipeline_folder import PIPELINES, hush, quietly, read_json
from noisespace.models.weight_file import Shapes, check_weight_file, header_of, kind_of_file

CONFIGS = Path(__file__).parent / "configs"
UNET, VAE = "model.diffusion_model.", "first_stage_model."
FIRST, SECOND = "conditioner.embedders.0.", "conditioner.embedders.1."
# A family -> where each of its text encoders is in the file
FAMILIES = {
    "sdxl": {
        "text_encoder": f"{FIRST}transformer.text_model.",
        "text_encoder_2": f"{SECOND}model.",
    },
    "sd2": {"text_encoder": "cond_stage_model.model."},
    "sd15": {"text_encoder": "cond_stage_model.transformer.text_model."},
}
HEAD = 64  # the width of an attention head, where heads are not counted by the config
CHANNELS = (4, 9)  # a latent, and with a mask and the latent of a masked picture
READ_LAYERS = 23  # of the 24 that Stable Diffusion 2's files have of their text encoder
TOKENS = 49408


def load_single_file(
    path: Path, dtype: torch.dtype, vae: str | None = None, prediction: str | None = None
) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """A checkpoint's model_index and its parts. ``vae``: an autoencoder in the place of its own.

    ``prediction``: of Stable Diffusion 2, whose files do not tell it.

    Raises InputError, in one sentence, for a file of anything else.
    """
    shapes, notes = header_of(check_weight_file(path))
    family = family_of_file(path, shapes)
    settings = read_json(CONFIGS / f"{family}.json")
    settings |= sized(settings, family, shapes, path.name)
    choose_prediction(settings, family, prediction or told_prediction(shapes, notes), path.name)
    if "ztsnr" in shapes:  # an empty tensor, as "v_pred": its last level holds no signal
        settings["scheduler"]["rescale_betas_zero_snr"] = True
    if not vae and f"{VAE}decoder.conv_in.weight" not in shapes:
        raise InputError(f"{path.name}: has no autoencoder; give one with vae (--vae)")
    index = settings["model_index"]
    own: dict[str, Any] = {
        part.replace("text_encoder", "tokenizer"): clip_tokenizer("!" if is_open(prefix) else END)
        for part, prefix in FAMILIES[family].items()
    }
    if vae:
        own["vae"] = load_autoencoder(vae, settings["vae"], dtype)
    hush()
    import diffusers

    cls = getattr(diffusers, index["_class_name"])
    with config_folder(settings) as folder:
        options = {"config": str(folder), "torch_dtype": dtype, "local_files_only": True}
        pipe = quietly(lambda: cls.from_single_file(str(path), **options, **own), path.name)
    parts = {name: getattr(pipe, name) for name in PIPELINES[index["_class_name"]]}
    for name, part in parts.items():
        if isinstance(part, torch.nn.Module) and any(p.is_meta for p in part.parameters()):
            missing = next(key for key, p in part.named_parameters() if p.is_meta)
            raise InputError(f"{path.name}: the weights of its {name} are not whole: no {missing}")
    return index, parts


def family_of_file(path: Path, shapes: Shapes) -> str:
    """sd15, sd2 or sdxl. Raises InputError that names what the file is, if it is none of them."""
    first = shapes.get(f"{UNET}input_blocks.0.0.weight")
    for family, encoders in FAMILIES.items():
        whole = all(any(key.startswith(p) for key in shapes) for p in encoders.values())
        if not (whole and first and len(first) == 4) or "edm_mean" in shapes:
            continue
        if first[1] not in CHANNELS:
            raise InputError(
                f"{path.name}: its network takes {first[1]} channels (5 are a depth model, 8 "
                "InstructPix2Pix), which is not supported; use one that takes 4, or 9 for "
                "inpainting"
            )
        return family
    raise InputError(
        f"{path.name}: is no whole checkpoint of Stable Diffusion 1.x, 2.x or XL: it holds "
        + kind_of_file(shapes)
    )


def is_open(prefix: str) -> bool:
    """Whether a text encoder is OpenCLIP's, whose prompts are filled up with "!", not OpenAI's."""
    return prefix.endswith(".model.")


def sized(
    settings: Mapping[str, Any], family: str, shapes: Shapes, name: str
) -> dict[str, dict[str, Any]]:
    """The configs of a family's networks, as wide as the file's tensors."""
    try:
        made = {"unet": {**settings["unet"], **unet_widths(settings["unet"], shapes)}}
        for part, prefix in FAMILIES[family].items():
            widths = (open_clip_widths if is_open(prefix) else clip_widths)(prefix, shapes)
            if family == "sd2":
                widths["num_hidden_layers"] = min(widths["num_hidden_layers"], READ_LAYERS)
            made[part] = {**settings[part], **widths}
        if f"{VAE}decoder.conv_in.weight" in shapes:
            made["vae"] = {**settings["vae"], **autoencoder_widths(shapes)}
    except KeyError as error:
        raise InputError(f"{name}: is not whole: the tensor {error} is missing") from None
    short = [part for part, config in made.items() if config.get("vocab_size", TOKENS) < TOKENS]
    if short:
        raise InputError(f"{name}: its {short[0]} knows fewer than the {TOKENS} tokens of CLIP")
    return made


def unet_widths(config: Mapping[str, Any], shapes: Shapes) -> dict[str, Any]:
    each = config["layers_per_block"] + 1
    channels = [
        shapes[f"{UNET}input_blocks.{1 + each * level}.0.out_layers.3.weight"][0]
        for level in range(len(config["block_out_channels"]))
    ]
    context = next((key for key in sorted(shapes) if key.endswith("attn2.to_k.weight")), "attn2")
    widths: dict[str, Any] = {
        "in_channels": shapes[f"{UNET}input_blocks.0.0.weight"][1],
        "block_out_channels": channels,
        "cross_attention_dim": shapes[context][1],
    }
    if isinstance(config["attention_head_dim"], list):  # of heads, whatever its name says
        widths["attention_head_dim"] = [max(1, width // HEAD) for width in channels]
    if "projection_class_embeddings_input_dim" in config:
        told = shapes[f"{UNET}label_emb.0.0.weight"][1]
        widths["projection_class_embeddings_input_dim"] = told
    return widths


def clip_widths(prefix: str, shapes: Shapes) -> dict[str, int]:
    table = shapes[f"{prefix}embeddings.token_embedding.weight"]
    positions = shapes[f"{prefix}embeddings.position_embedding.weight"][0]
    inner = shapes[f"{prefix}encoder.layers.0.mlp.fc1.weight"][0]
    layers = count(rf"{re.escape(prefix)}encoder\.layers\.(\d+)\.", shapes)
    return encoder_widths(table, positions, inner, layers)


def open_clip_widths(prefix: str, shapes: Shapes) -> dict[str, int]:
    table = shapes[f"{prefix}token_embedding.weight"]
    positions = shapes[f"{prefix}positional_embedding"][0]
    inner = shapes[f"{prefix}transformer.resblocks.0.mlp.c_fc.weight"][0]
    layers = count(rf"{re.escape(prefix)}transformer\.resblocks\.(\d+)\.", shapes)
    projected = shapes.get(f"{prefix}text_projection", (0, table[1]))[1]
    widths = encoder_widths(table, positions, inner, layers)
    return {**widths, "projection_dim": projected}


def encoder_widths(
    table: tuple[int, ...], positions: int, inner: int, layers: int
) -> dict[str, int]:
    return {
        "vocab_size": table[0],
        "hidden_size": table[1],
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, table[1] // HEAD),
        "max_position_embeddings": positions,
    }


def count(pattern: str, shapes: Shapes) -> int:
    """How many numbers the first group of a pattern takes among the tensors' names."""
    return len({found[1] for key in shapes if (found := re.match(pattern, key))})


def told_prediction(shapes: Shapes, notes: Mapping[str, str]) -> str | None:
    """What a file says of its prediction, in its notes or by the empty tensor "v_pred"."""
    note = notes.get("modelspec.prediction_type", "").lower()
    if "v_pred" in shapes or note in ("v", "v_prediction", "v-prediction"):
        return "v_prediction"
    return "epsilon" if note == "epsilon" else None


def choose_prediction(
    settings: dict[str, Any], family: str, prediction: str | None, name: str
) -> None:
    """Sets what the network predicts, and the side of Stable Diffusion 2 that goes with it.

    Nothing told, Stable Diffusion 2 is the one of 768 pixels, which predicts v: diffusers' choice.
    """
    if family == "sd2" and prediction is None:
        warnings.warn(
            f"{name}: a Stable Diffusion 2 file does not tell what its network predicts; "
            'v_prediction (768 pixels) is taken; for a "base" model of 512 pixels say '
            "prediction=epsilon (--prediction epsilon)",
            stacklevel=4,
        )
    if prediction is not None:
        settings["scheduler"]["prediction_type"] = prediction
    if family == "sd2" and prediction == "epsilon":
        settings["unet"]["sample_size"] = 64
        settings["vae"]["sample_size"] = 512


@contextmanager
def config_folder(settings: Mapping[str, Any]) -> Iterator[Path]:
    """A folder with configs where diffusers looks for them, for as long as it loads."""
    files = {"model_index": "model_index.json", "scheduler": "scheduler/scheduler_config.json"}
    with TemporaryDirectory(prefix="noisespace-") as folder:
        for part, config in settings.items():
            file = Path(folder) / files.get(part, f"{part}/config.json")
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps(config), encoding="utf-8")
        yield Path(folder)
