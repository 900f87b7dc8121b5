"""LoRA files fused into the weights that they were made for (arXiv 2106.09685)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from noisespace.errors import InputError
from noisespace.models.pipeline_folder import hush, quietly
from noisespace.models.weight_file import header_of, kind_of_file

DOWN = re.compile(r"\.(lora_down|lora_A|lora\.down|down)(\.\w+)?\.weight$")
ADAPTER = "lora"


def check_peft() -> None:
    if find_spec("peft") is None:
        raise InputError('LoRAs need peft, which is not installed: pip install "noisespace[lora]"')


def fuse(kind: str, parts: Mapping[str, Any], files: Sequence[tuple[Path, float]]) -> None:
    """Adds each file's low-rank matrices, times its scale, to the weights of a pipeline's parts.

    kohya's and diffusers' layouts, by diffusers' own loaders. The networks are plain afterwards.

    Raises InputError for a file that is made for another network, in whole or in part.
    """
    hush()
    import diffusers

    cls = getattr(diffusers, kind)
    if not hasattr(cls, "load_lora_weights"):
        raise InputError(f"a {kind} takes no LoRA; leave lora out")
    optional = dict.fromkeys(cls._optional_components)
    pipe = cls(**{**optional, **parts, "scheduler": None})  # which the constructor would correct
    for path, scale in files:  # one by one: PEFT warns of several
        load_one(pipe, path)
        pipe.set_adapters([ADAPTER], [scale])
        pipe.fuse_lora(adapter_names=[ADAPTER])
        pipe.unload_lora_weights()


def load_one(pipe: Any, path: Path) -> None:
    """Puts a file's matrices beside the layers that they are for, all of them or none."""
    from safetensors.torch import load_file

    shapes, _ = header_of(path)
    pairs = sum(bool(DOWN.search(key)) for key in shapes)
    if not pairs or any("dora_scale" in key for key in shapes):
        raise InputError(f"{path.name}: holds no LoRA, but {kind_of_file(shapes)}")
    weights = load_file(path)
    try:
        quietly(lambda: pipe.load_lora_weights(weights, adapter_name=ADAPTER), path.name)
    except InputError as error:
        raise InputError(
            f"{path.name}: does not fit this model, a LoRA goes with the base model that it was "
            f"made for ({str(error).partition(': ')[2] or error})"
        ) from None
    matched = sum(
        ADAPTER in module.lora_A
        for part in pipe.components.values()
        if hasattr(part, "modules")
        for module in part.modules()
        if hasattr(module, "lora_A")
    )
    if matched < pairs:
        raise InputError(
            f"{path.name}: {pairs - matched} of its {pairs} layers are not in this model; a LoRA "
            "goes with the base model that it was made for"
        )
