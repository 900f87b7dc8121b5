"""Weights in 8 or 4 bits, by diffusers' and transformers' use of bitsandbytes."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from noisespace.errors import InputError
from noisespace.models.families import NETWORKS

if TYPE_CHECKING:
    from noisespace.models.speed import Speed

BITS = {"8bit": 8, "4bit": 4}
QUANTISED = (
    "quantised weights go without gradients, which this method needs: load the model without "
    "quantize, with dtype bfloat16 and offload parts where memory is short"
)


def check_quantize(speed: Speed, place: torch.device) -> None:
    """Raises InputError where weights cannot be quantised as it is asked for."""
    if speed.quantize is None:
        return
    if speed.quantize not in BITS:
        raise InputError(f"quantize must be {' or '.join(BITS)}, got {speed.quantize!r}")
    against = {
        "preset exact": speed.preset == "exact",
        f"dtype {speed.dtype}": speed.dtype in ("float64", "mixed"),
        "compile": speed.compile,
        "offload layers": speed.offload == "layers",
    }
    if wrong := [what for what, given in against.items() if given]:
        raise InputError(f"quantize goes without {wrong[0]}: leave one of the two out")
    if find_spec("bitsandbytes") is None:
        raise InputError('quantize needs bitsandbytes: run pip install "noisespace[quantize]"')
    if place.type != "cuda":
        raise InputError(
            f"quantize needs a CUDA device, got {place.type}: leave it out, or use dtype bfloat16"
        )


def parts_in_bits(named: Mapping[str, str | None]) -> set[str]:
    """Of a pipeline's parts by their classes those that are quantised: the network, and T5."""
    return {part for part, cls in named.items() if part in NETWORKS or cls == "T5EncoderModel"}


def quantising(part: str, quantize: str, dtype: torch.dtype) -> dict[str, Any]:
    """What from_pretrained is told, that it makes a part's linear layers so."""
    if part in NETWORKS:
        from diffusers import BitsAndBytesConfig
    else:
        from transformers import BitsAndBytesConfig
    four = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype}
    options: dict[str, Any] = {f"load_in_{quantize}": True, **(four if quantize == "4bit" else {})}
    return {"quantization_config": BitsAndBytesConfig(**options)}


def is_quantised(module: Any) -> bool:
    """Whether bitsandbytes holds some of a part's weights."""
    layers = module.modules() if isinstance(module, nn.Module) else ()
    return any(type(layer).__module__.startswith("bitsandbytes") for layer in layers)
