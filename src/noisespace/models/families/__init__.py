"""Networks at the boundary: one file a family, and what each is recognised by."""

from __future__ import annotations

from typing import Any

from noisespace.errors import InputError
from noisespace.models.text import Reading

# The class of a pipeline's network -> the family's module and class. (Modules by name: a family's
# file is read when one of its networks is.)
FAMILIES = {
    "UNet2DModel": ("pixels", "Pixels"),
    "UNet2DConditionModel": ("stable_diffusion", "StableDiffusion"),
    "UNet2DConditionModel, text_time": ("sdxl", "StableDiffusionXL"),
    "SD3Transformer2DModel": ("sd3", "StableDiffusion3"),
    "FluxTransformer2DModel": ("flux", "Flux"),
}


NETWORKS = ("transformer", "unet")  # as a pipeline calls its network


def network_part(pipe: Any) -> str:
    """The name of a pipeline's network among its parts."""
    return next((name for name in NETWORKS if getattr(pipe, name, None) is not None), "unet")


def family_of(pipe: Any, reading: Reading) -> Any:
    """The family of a pipeline's network, with what the pipeline reads prompts by.

    Raises InputError for networks of no family here, and a ``reading`` that it does not have.
    """
    from importlib import import_module

    network = getattr(pipe, network_part(pipe), None)
    kind = type(network).__name__
    added = getattr(getattr(network, "config", None), "addition_embed_type", None)
    found = FAMILIES.get(f"{kind}, {added}" if added == "text_time" else kind)
    if found is None:
        raise InputError(
            f"a {type(pipe).__name__} ({kind}) is not supported; expected a pipeline of Stable "
            "Diffusion 1.x, 2.x, XL, 3 or 3.5, of Flux, or of an unconditional U-Net in pixel space"
        )
    module, name = found
    return getattr(import_module(f"{__name__}.{module}"), name).of(pipe, reading)
