"""Inversions and real replays: how far each ends from the picture's own latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from noisespace.api import freeze, invert, reconstruct
from noisespace.bench.costs import costing
from noisespace.core.guidance import Guidance
from noisespace.inversion import (
    BELM,
    DDIM,
    EDICT,
    CycleDiffusion,
    Direct,
    EditFriendly,
    FixedPoint,
    NegativePrompt,
    NullText,
    PromptTuning,
    ProxNPI,
    SDEdit,
)
from noisespace.study.measure import Row, psnr
from noisespace.study.subjects import autoencoded

TUNED = ("null-text", "prompt-tuning")  # each for its guidance
# exact for the w that they were inverted with
OWN = ("edict", "belm", "edit-friendly", "cycle-diffusion", "direct")
# what fits a network or one embedding for all steps takes minutes a picture: benchmarks/fitted.py
LEFT_OUT = ("textual-inversion", "imagic", "unitune", "diffusion-clip")
# evaluations a step of the inversion, of which the replay has one more
COST = {"fixed-point": 5.0, "edict": 2.0, "null-text": 8.0, "prompt-tuning": 8.0, "sdedit": 0.0}


def methods(w: float = 1.0) -> dict[str, Any]:
    """Every inversion that takes seconds, as published; the tuned ones are tuned for ``w``."""
    return {
        "ddim": DDIM(),
        "fixed-point": FixedPoint(),
        "negative-prompt": NegativePrompt(),
        "prox-npi": ProxNPI(),
        "sdedit": SDEdit(),
        "direct": Direct(),
        "edit-friendly": EditFriendly(),
        "cycle-diffusion": CycleDiffusion(),
        "edict": EDICT(),
        "belm": BELM(),
        "null-text": NullText(guidance=w, solver="gauss-newton"),
        "prompt-tuning": PromptTuning(guidance=w, solver="gauss-newton"),
    }


@dataclass(frozen=True)
class Batch:
    """Images as ``invert`` takes them, with their prompts and seeds."""

    images: Any
    prompts: Sequence[str]
    seeds: Sequence[int]

    def __len__(self) -> int:
        return len(self.prompts)

    def part(self, start: int, stop: int) -> Batch:
        """Some of the images."""
        some = slice(start, stop)
        return Batch(self.images[some], self.prompts[some], self.seeds[some])


@dataclass(frozen=True)
class Setting:
    """A method by its name, on so many steps, to be replayed at ``w``; ``method``: not the usual.

    ``rule``: how a live code's predictions are mixed, where that is not classifier-free guidance.

    Deterministic ascents invert at guidance 1, as published, and are replayed at w: that is what
    fails. Methods that are exact at the w that they were inverted with are given it.
    """

    name: str
    steps: int
    w: float
    method: Any = None
    rule: Guidance | None = None

    @property
    def inversion(self) -> Any:
        return methods(self.w)[self.name] if self.method is None else self.method

    @property
    def guidance(self) -> float | None:
        """That of the inversion; None is the method's own."""
        if self.name.partition(",")[0] in OWN:  # whatever its variant
            return self.w
        return 1.0 if self.name in methods() and self.name not in TUNED else None


def reconstruction(
    model: Any, setting: Setting, batch: Batch, keep: Callable[[int, Any], None] | None = None
) -> list[Row]:
    """Of each image: how far a replay ends from its latents, and the PSNR of its picture.

    "rms", "max": of the difference of latents; "psnr" and "bound" (the autoencoder's own), in dB,
    where there is a picture; of the inversion "seconds" an image, and "evaluations" of the network
    an image and step. ``keep`` is given the pictures.
    """
    options = {"steps": setting.steps, "guidance": setting.guidance, "seed": list(batch.seeds)}
    images, prompts = batch.images, list(batch.prompts)
    code, cost = costing(model, lambda m: invert(m, images, prompts, setting.inversion, **options))
    steps = max(1, code.steps - code.first)
    if setting.rule is not None:
        code = freeze(model, replace(code, rule=setting.rule))
    result = reconstruct(model, code, guidance=setting.w)
    rows = [
        {"image": i, "rms": float(x.square().mean().sqrt()), "max": float(x.abs().max())}
        for i, x in enumerate(result.latents - code.path[-1])
    ]
    about = {
        "seconds": cost.seconds / len(batch),
        "evaluations": cost.evaluations / len(batch) / steps,
    }
    rows = [{**row, **about} for row in rows]
    if isinstance(batch.images, Tensor):
        return rows
    for i, picture in enumerate(result.images if keep else ()):
        keep(i, picture)  # type: ignore[misc]  # there is one in this loop
    bounds = autoencoded(model, batch.images)
    return [
        {**row, "psnr": psnr(picture, image), "bound": psnr(bound, image)}
        for row, picture, image, bound in zip(
            rows, result.images, batch.images, bounds, strict=True
        )
    ]
