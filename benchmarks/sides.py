"""What is compared: for every row of the benchmark the library's way and the textbook's.

A side is a function of no arguments that does the whole work once. Both sides of a row have the
same model, input, steps and guidance; what they compute is held equal by tests/test_textbook.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import textbook
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

import noisespace as ns

SOURCE, TARGET = (
    "a plain red circle on a blue background",
    "a plain green circle on a blue background",
)
COLOURS = ("green", "yellow", "purple", "orange", "white", "black", "cyan", "pink")
TARGETS = tuple(f"a plain {colour} circle on a blue background" for colour in COLOURS)
W, EDIT_W, NULL_W = 3.5, 15.0, 7.5
MODELS = ("scenes", "sd-10m")
ROWS = ("inversion", "inversion + edit", "further edit", "8 prompts", "null-text")
AIMS = {"inversion": 6, "inversion + edit": 3, "further edit": 4, "8 prompts": 3, "null-text": 4}

Side = Callable[[], Any]


@dataclass(frozen=True)
class Settings:
    """How long the work is: the grids of edit-friendly and null-text inversion."""

    steps: int = 100
    skip: int = 36
    null_steps: int = 50
    iterations: int = 10


@dataclass(frozen=True)
class Pair:
    """One row: the library's side and the baseline's."""

    name: str
    ours: Side
    baseline: Side


def build(name: str) -> Any:
    """``scenes``, or a random network of Stable Diffusion's architecture with 10 M parameters.

    The second has the scenes' prompts and autoencoder around it; its own U-Net has two layers a
    block and attention at every size but the smallest, as Stable Diffusion's.
    """
    model = ns.load("scenes", device="cpu")
    if name == "scenes":
        return model
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(64, 128, 160),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=model.unet.config.cross_attention_dim,
        attention_head_dim=8,
    )
    unet.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return replace(model, unet=unet, name=name, fingerprint="")


def start(model: Any) -> Tensor:
    """The latents that both sides invert: those of a picture of the held-out scenes."""
    from noisespace import images
    from noisespace.bench.scenes import scene_edits

    return model.encode(images.to_tensor(scene_edits(1)[0].scene.render()))


def pairs(model: Any, row: str, settings: Settings) -> Pair:
    """The two sides of a row, with all that is not measured already done."""
    x0, steps, skip = start(model), settings.steps, settings.skip
    method = ns.EditFriendly(skip=skip)

    def invert() -> Any:
        return ns.invert(model, x0, SOURCE, method, steps=steps, guidance=W)

    def textbook_invert() -> textbook.Maps:
        return textbook.invert(model, x0, SOURCE, steps=steps, w=W)

    def edit(code: Any, prompts: Any) -> Any:
        return ns.edit(model, code, prompts, guidance=EDIT_W).latents

    def textbook_edit(maps: textbook.Maps, prompts: Any) -> Any:
        return textbook.edit_each(model, maps, prompts, skip, EDIT_W)

    if row == "inversion":
        return Pair(row, invert, textbook_invert)
    if row == "inversion + edit":
        return Pair(
            row, lambda: edit(invert(), TARGET), lambda: textbook_edit(textbook_invert(), [TARGET])
        )
    if row == "null-text":
        return null_text(model, x0, settings)
    code = invert()
    if row == "further edit":  # the baseline inverts again, as the public scripts do
        return Pair(
            row, lambda: edit(code, TARGET), lambda: textbook_edit(textbook_invert(), [TARGET])
        )
    maps = textbook_invert()
    return Pair(row, lambda: edit(code, list(TARGETS)), lambda: textbook_edit(maps, TARGETS))


def null_text(model: Any, x0: Tensor, settings: Settings) -> Pair:
    """Null-text inversion and the state that it reconstructs; the notebook's loop beside it."""
    steps, method = settings.null_steps, ns.NullText(guidance=NULL_W)

    def ours() -> Tensor:
        code = ns.invert(model, x0, SOURCE, method, steps=steps)
        return ns.reconstruct(model, code).latents

    def baseline() -> Tensor:
        model.unet.requires_grad_(True)  # as the public notebook leaves it
        try:
            options = {"steps": steps, "w": NULL_W, "iterations": settings.iterations}
            return textbook.null_text(model, x0, SOURCE, **options)[1].detach()
        finally:
            model.unet.requires_grad_(False)
            model.unet.zero_grad(set_to_none=True)

    return Pair("null-text", ours, baseline)


def psnr_of(model: Any, latents: Tensor, x0: Tensor) -> float:
    """dB of a reconstruction to the autoencoder's own picture of the input, on [0, 1]."""
    with torch.no_grad():
        a, b = ((model.decode(x) / 2 + 0.5).clamp(0, 1) for x in (latents, x0))
    return float(-10 * torch.log10(((a - b) ** 2).mean().clamp(min=1e-12)))
