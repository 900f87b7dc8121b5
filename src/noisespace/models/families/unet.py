"""What all U-Nets of diffusers share: their layers, and their sizes."""

from __future__ import annotations

import re
from typing import Any

from noisespace.core.controls import Site
from noisespace.errors import InputError
from noisespace.models.attention import numbered

PLACES = ("down", "mid", "up")
DECODER_BLOCK = re.compile(r"up_blocks\.\d+\.resnets\.\d+")


def find_sites(unet: Any) -> tuple[Site, ...]:
    """Every attention and decoder feature of a U-Net, in the order of evaluation."""
    depth = len(unet.get_submodule("down_blocks")._modules)
    found: list[Site] = []
    for name, module in unet.named_modules():
        place = name.split("_", 1)[0]
        if place not in PLACES:
            continue
        if hasattr(module, "to_q") and hasattr(module, "set_processor"):
            kind = "cross" if getattr(module, "is_cross_attention", False) else "self"
        elif DECODER_BLOCK.fullmatch(name) and hasattr(module, "conv2"):
            kind, name = "feature", f"{name}.conv2"
        else:
            continue
        block = int(name.split(".")[1]) if place != "mid" else 0
        level = {"down": block, "mid": depth - 1, "up": depth - 1 - block}[place]
        found.append(Site(name, kind, place, 0, 0, 2**level))
    # stable; the up blocks register first
    return numbered(sorted(found, key=lambda site: PLACES.index(site.place)))


def sample_side(unet: Any) -> int:
    """The shorter side of the states that a U-Net was made for."""
    size = unet.config.sample_size
    return size if isinstance(size, int) else min(size)


def check_unet(unet: Any) -> None:
    """Raises InputError for a U-Net that wants to be told what nobody here knows."""
    config = unet.config
    if config.class_embed_type or config.num_class_embeds:
        raise InputError("its U-Net wants class labels, which no prompt gives: it is not supported")
    known = config.addition_embed_type in (None, "text_time")
    if not known or config.encoder_hid_dim_type not in (None, "ip_image_proj"):
        kind = config.encoder_hid_dim_type if known else config.addition_embed_type
        raise InputError(f"its U-Net wants a condition of kind {kind!r}: it is not supported")
