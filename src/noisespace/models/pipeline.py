"""From a pipeline of diffusers in memory to a model."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from noisespace.core.condition import START
from noisespace.errors import InputError
from noisespace.models.diffusion import DiffusionModel
from noisespace.models.families import family_of, network_part
from noisespace.models.families.ip_adapter import IPAdapters
from noisespace.models.quantised import is_quantised
from noisespace.models.schedules import Schedule
from noisespace.models.text import Reading

SAMPLED = 4096  # values a tensor that a fingerprint looks at
ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")

# Of models that were distilled to a few steps under their guidance (arXiv 2311.17042)
TURBO = {
    "sample": {"steps": 4, "guidance": 1.0},
    "every": {"steps": 4, "invert": 1.0, "edit": 1.0},
}


def fingerprint(
    parts: Mapping[str, nn.Module],
    scheduler: Mapping[str, Any],
    tokens: Mapping[str, torch.Tensor] | None = None,
    reading: Mapping[str, Any] | None = None,
) -> str:
    """A hash of configurations and weights that does not depend on the dtype they were loaded in.

    Values are rounded to bfloat16 and sampled with a stride: changing a layer changes it.
    ``tokens``: the vectors of tokens that were added, which are too few to be sampled; ``reading``:
    what is set of how prompts are read.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps(scheduler, sort_keys=True, default=str).encode())
    for name, module in sorted(parts.items()):
        for key, tensor in sorted(module.state_dict().items()):
            flat = tensor.detach().flatten()
            some = flat[:: max(1, len(flat) // SAMPLED)].to("cpu", torch.float32)
            digest.update(f"{name}.{key}{tuple(tensor.shape)}".encode())
            digest.update(some.to(torch.bfloat16).view(torch.int16).numpy().tobytes())
        for key, layer in module.named_modules():
            if hasattr(layer, "lora_A"):
                digest.update(f"{name}.{key} {adapters_of(layer)}".encode())
    for token, vector in sorted((tokens or {}).items()):
        digest.update(token.encode())
        digest.update(vector.detach().to("cpu", torch.bfloat16).view(torch.int16).numpy().tobytes())
    if reading:
        digest.update(json.dumps(reading, sort_keys=True).encode())
    return digest.hexdigest()


def added_tokens(pipe: Any) -> dict[str, torch.Tensor]:
    """The vectors of tokens that CLIP's tokenizers were given later (textual inversions)."""
    out = {}
    for part in ENCODERS:
        encoder = getattr(pipe, part, None)
        tokenizer: Any = getattr(pipe, part.replace("text_encoder", "tokenizer"), None)
        if encoder is None or getattr(tokenizer, "bos_token", None) != START:
            continue
        table = encoder.get_input_embeddings().weight
        for token, number in tokenizer.added_tokens_encoder.items():
            if token not in tokenizer.all_special_tokens:
                out[f"{part} {token}"] = table[number]
    return out


def adapters_of(layer: Any) -> dict[str, float]:
    """The adapters of PEFT that act in a layer, by their scales, which no weight tells."""
    active = [] if layer.disable_adapters else sorted({*layer.active_adapters})
    return {name: float(layer.scaling[name]) for name in active if name in layer.scaling}


def networks_of(pipe: Any) -> dict[str, Any]:
    """The networks of a pipeline, by the names that diffusers gives them."""
    names = (network_part(pipe), "vae", *ENCODERS)
    return {k: getattr(pipe, k) for k in names if getattr(pipe, k, None) is not None}


def from_pipeline(
    pipe: Any,
    name: str = "pipeline",
    defaults: Mapping | None = None,
    *,
    weights: str | None = None,
    clip_skip: int | None = None,
    ip_adapter_image: Any = None,
) -> Any:
    """A model from a diffusers pipeline in memory, which it leaves as it is.

    Of Stable Diffusion 1.x, 2.x, XL, 3 and 3.5, of Flux, and of unconditional U-Nets in pixel space
    (DDPMPipeline ...), with the LoRAs that it was set up with.
    ``defaults``: settings in the place of its family's; ``weights`` and ``clip_skip``: how prompts
    are read, as in ``load``; ``ip_adapter_image``: what a pipeline with IP-Adapters shall be told,
    a picture or a list with one for each.

    Raises InputError, in one sentence, for what is none of these.
    """
    if not all(hasattr(pipe, part) for part in ("config", "scheduler", network_part(pipe))):
        raise InputError(
            f"{name}: expected a diffusers pipeline that makes pictures, got a "
            f"{type(pipe).__name__}"
        )
    if getattr(pipe, "controlnet", None) is not None:
        raise InputError(
            f"{name}: a ControlNet is told a picture at each step, which is not supported; "
            "expected the pipeline without it"
        )
    reading = Reading.of(weights, clip_skip)
    schedule = Schedule.of(pipe.scheduler)
    family, pictures = with_pictures(family_of(pipe, reading), pipe, ip_adapter_image, name)
    said = {**reading.record(), **pictures.record()}
    parts = networks_of(pipe)
    network = parts[network_part(pipe)]
    for part, module in parts.items():
        check_weights(f"{name}: the weights of {part}", module)
        if part not in ENCODERS and not is_quantised(
            module
        ):  # transformers itself keeps layers of some in float32
            check_one_dtype(f"{name}: the weights of {part}", module)
    if schedule.flows != family.flows:
        expected = "a flow-matching scheduler" if family.flows else "a scheduler with betas"
        raise InputError(
            f"{name}: {type(network).__name__} goes with {expected}, got {schedule.name}"
        )
    if schedule.clipping:
        warnings.warn(
            f"{name}: its {schedule.name} sets {' and '.join(schedule.clipping)}, which is left "
            "out here, since no inversion is exact with it: samples differ from its pipeline's",
            stacklevel=2,
        )
    model = DiffusionModel(
        network,
        family,
        parts.get("vae"),
        schedule,
        name=name,
        defaults={**family.defaults, **(TURBO if schedule.turbo else {}), **(defaults or {})},
        fingerprint=fingerprint(parts, schedule.config, added_tokens(pipe), said),
        additions=said,
    )
    taken, made = family.channels(network), model.channels
    if model.vae is not None and taken != made and not model.paints:
        raise InputError(
            f"{name}: its network takes {taken} channels, the autoencoder makes {made}: a depth or "
            "InstructPix2Pix model, or another model's autoencoder, which is not supported; an "
            f"inpainting network takes {1 + 2 * made}"
        )
    return model


def with_pictures(family: Any, pipe: Any, picture: Any, name: str) -> tuple[Any, IPAdapters]:
    """A family with what the pipeline's IP-Adapters are told, if it has some."""
    network = getattr(pipe, network_part(pipe))
    processors = getattr(network, "attn_processors", {})
    found = [one for one in processors.values() if "IPAdapter" in type(one).__name__]
    wanted = bool(found) or network.config.get("encoder_hid_dim_type") == "ip_image_proj"
    if wanted != (picture is not None):
        raise InputError(
            f"{name}: has an IP-Adapter, which is told a picture: pass ip_adapter_image=..., or "
            "call pipe.unload_ip_adapter() first"
            if wanted
            else f"{name}: ip_adapter_image is for pipelines with an IP-Adapter, which this is not"
        )
    if not wanted:
        return family, IPAdapters()
    if not hasattr(family, "pictures"):
        raise InputError(
            f"{name}: IP-Adapters are supported on Stable Diffusion 1.x, 2.x and XL; call "
            "pipe.unload_ip_adapter() first"
        )
    pictures = IPAdapters.of(pipe, found, picture)
    return replace(family, pictures=pictures), pictures


def check_one_dtype(what: str, module: nn.Module) -> None:
    """Raises InputError for layers of several dtypes, which no state can go through.

    Adapters cast for themselves.
    """
    own = (p for name, p in module.named_parameters() if "lora_" not in name)
    found = sorted({str(p.dtype).removeprefix("torch.") for p in own if p.is_floating_point()})
    if len(found) > 1:
        raise InputError(
            f"{what} are of several dtypes ({', '.join(found)}); expected one: call its .to(dtype)"
        )


def check_weights(what: str, module: nn.Module) -> None:
    """Raises InputError for weights that are elsewhere, or no numbers."""
    for key, tensor in module.state_dict().items():
        if tensor.is_meta:
            raise InputError(
                f"{what} are on no device (sequential offloading keeps them elsewhere): use "
                "noisespace.load with offload"
            )
        if tensor.is_floating_point() and tensor.itemsize > 1 and not bool(tensor.isfinite().all()):
            raise InputError(f"{what} hold NaN or infinity ({key})")
    kinds = {weight.dtype for weight in module.parameters() if weight.dtype.itemsize == 1}
    if kinds and not is_quantised(module):
        raise InputError(
            f"{what} are in 8 bits or fewer ({kinds.pop()}), cast layer by layer or quantised by "
            "another library than bitsandbytes, which is not supported; expected 16 bits or more"
        )
