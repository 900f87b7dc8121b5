"""The pairs that are timed: what noisespace does, and the public way of computing the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pipelines
import textbook
import torch
from networks import model_of
from PIL import Image

import noisespace as ns
from noisespace.train.draw import held_out_scene

SOURCE = "a plain red circle on a blue background"
TARGETS = [
    f"a plain {colour} {shape} on a blue background"
    for colour in ("green", "yellow")
    for shape in ("circle", "square", "star", "cross")
]
STEPS, SKIP, W_SOURCE, W_TARGET = 100, 36, 3.5, 15.0
MODELS = ("scenes", "sd-10m")

Work = Callable[[], Any]


@dataclass(frozen=True)
class Race:
    """``make`` prepares both sides, ours and the baseline; ``cheap``: they take seconds at most."""

    name: str
    make: Callable[[], tuple[Work, Work]]
    cheap: bool = True

    def sides(self) -> tuple[Work, Work]:
        return self.make()


@dataclass(frozen=True)
class Setting:
    """One model, the picture and the settings that both sides share."""

    network: str
    steps: int
    tuned: int  # the steps of null-text
    model: Any
    x0: torch.Tensor
    image: Image.Image

    @property
    def skip(self) -> int:
        return round(SKIP / STEPS * self.steps)

    @property
    def method(self) -> ns.EditFriendly:
        return ns.EditFriendly(skip=self.skip)

    def invert(self) -> ns.Code:
        options = {"steps": self.steps, "guidance": W_SOURCE}
        return ns.invert(self.model, self.x0, SOURCE, self.method, **options)

    def maps(self) -> textbook.Maps:
        return textbook.invert(self.model, self.x0, SOURCE, self.steps, W_SOURCE)

    def edit(self, code: ns.Code, targets: Any) -> Any:
        return ns.edit(self.model, code, targets, guidance=W_TARGET)

    def old(self, maps: textbook.Maps, target: str) -> torch.Tensor:
        x = textbook.edit(self.model, maps, target, self.skip, W_TARGET)
        with torch.no_grad():
            self.model.decode(x)  # ours ends with a picture too
        return x


def noise_picture(side: int) -> np.ndarray:
    return (np.random.default_rng(0).random((side, side, 3)) * 255).astype(np.uint8)


@cache
def setting(network: str, quick: bool, warm: bool) -> Setting:
    model = model_of(network)
    side = model.resolution
    # null-text's thresholds and its PSNR mean something on pictures that the model knows
    known = network == "scenes"
    picture = held_out_scene(0).render() if known else noise_picture(side)
    x0 = ns.invert(model, picture, SOURCE, ns.DDIM(), steps=1).path[-1]
    steps = 4 if warm else STEPS
    tuned = 2 if warm else (10 if quick else 50)
    return Setting(network, steps, tuned, model, x0, Image.fromarray(picture))


def races(quick: bool, warm: bool = False) -> list[Race]:
    """All pairs; ``quick`` leaves the slow ones to `scenes` and shortens null-text."""
    out = []
    for network in MODELS:

        def at(network: str = network) -> Setting:
            return setting(network, quick, warm)

        out += [
            Race(f"{network}: edit-friendly inversion", lambda at=at: inversion(at())),
            Race(f"{network}: inversion + edit", lambda at=at: both(at())),
            Race(f"{network}: a further edit against a re-run", lambda at=at: further(at())),
            Race(
                f"{network}: 8 prompts in a batch against one by one",
                lambda at=at: prompts(at()),
                cheap=not quick,
            ),
        ]
        if network == "scenes" or not quick:
            out += [
                Race(
                    f"{network}: an edit against one with stored attention",
                    lambda at=at: stored(at()),
                ),
                Race(f"{network}: null-text", lambda at=at: tuned(at()), cheap=False),
                Race(f"{network}: DDIM inversion + edit", lambda at=at: ddim(at())),
            ]
    at = lambda: setting("scenes", quick, warm)  # noqa: E731
    out += [
        Race("scenes: img2img of diffusers against SDEdit", lambda: img2img(at())),
        Race("scenes: LEDITS++ of diffusers against edit-friendly", lambda: ledits(at())),
        Race(
            "scenes: DiffEdit of diffusers against DDIM + --mask diffedit", lambda: diffedit(at())
        ),
    ]
    return out


def race(name: str, quick: bool, warm: bool = False) -> Race:
    return next(one for one in races(quick, warm) if one.name == name)


def inversion(s: Setting) -> tuple[Work, Work]:
    return s.invert, s.maps


def both(s: Setting) -> tuple[Work, Work]:
    return lambda: s.edit(s.invert(), TARGETS[0]), lambda: s.old(s.maps(), TARGETS[0])


def further(s: Setting) -> tuple[Work, Work]:
    """A code is kept and edited again; the public scripts invert again for every prompt."""
    code = s.invert()
    return lambda: s.edit(code, TARGETS[0]), lambda: s.old(s.maps(), TARGETS[0])


def prompts(s: Setting) -> tuple[Work, Work]:
    """Edits of one inversion, that is made once on either side."""
    code, maps = s.invert(), s.maps()
    return lambda: s.edit(code, TARGETS), lambda: [s.old(maps, target) for target in TARGETS]


def stored(s: Setting) -> tuple[Work, Work]:
    """A prompt, with the attention of the baseline computed apart and kept."""
    code, maps = s.invert(), s.maps()

    def keeping() -> None:
        with textbook.storing(s.model.unet):
            s.old(maps, TARGETS[0])

    return lambda: s.edit(code, TARGETS[0]), keeping


def tuned(s: Setting) -> tuple[Work, Work]:
    """Ours by the default solver, theirs as the public notebook; both give what they reconstruct.

    ``bench.quality`` holds the PSNR of both beside their times: a ratio at unequal PSNR is none.
    """

    def theirs() -> torch.Tensor:
        s.model.unet.requires_grad_(True)  # as the notebook leaves it
        try:
            return textbook.null_text(s.model, s.x0, SOURCE, s.tuned)[1].detach()
        finally:
            s.model.unet.requires_grad_(False)
            for p in s.model.unet.parameters():
                p.grad = None

    def ours() -> torch.Tensor:
        code = ns.invert(s.model, s.x0, SOURCE, ns.NullText(guidance=7.5), steps=s.tuned)
        return ns.reconstruct(s.model, code).latents

    return ours, theirs


def ddim(s: Setting) -> tuple[Work, Work]:
    steps = max(2, s.steps // 2)

    def ours() -> None:
        code = ns.invert(s.model, s.x0, SOURCE, ns.DDIM(), steps=steps)
        ns.edit(s.model, code, TARGETS[0], guidance=7.5)

    return ours, lambda: textbook.ddim(s.model, s.x0, SOURCE, TARGETS[0], steps)


def img2img(s: Setting) -> tuple[Work, Work]:
    def ours() -> None:
        method = ns.SDEdit(strength=0.6)
        code = ns.invert(s.model, s.image, "", method, steps=s.steps)
        ns.edit(s.model, code, TARGETS[0], guidance=7.5)

    return ours, lambda: pipelines.img2img(s.model, s.image, TARGETS[0], s.steps, 0.6, 7.5)


def ledits(s: Setting) -> tuple[Work, Work]:
    """Both: inversion of the steps that run, then a guided edit; theirs steps by DPM-Solver++."""

    def ours() -> None:
        options = {"steps": s.steps, "guidance": W_SOURCE}
        s.edit(ns.invert(s.model, s.image, SOURCE, s.method, **options), TARGETS[0])

    skip = s.skip / s.steps
    return ours, lambda: pipelines.ledits(s.model, s.image, SOURCE, TARGETS[0], s.steps, skip)


def diffedit(s: Setting) -> tuple[Work, Work]:
    steps = max(10, s.steps // 2)

    def ours() -> None:
        code = ns.invert(s.model, s.image, SOURCE, ns.DDIM(stop=0.8), steps=steps)
        ns.edit(s.model, code, TARGETS[0], guidance=7.5, mask=ns.DiffEdit())

    return ours, lambda: pipelines.diffedit(s.model, s.image, SOURCE, TARGETS[0], steps, 7.5)
