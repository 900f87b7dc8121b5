"""The pairs that are timed: what noisespace does, and the public way of computing the same.

Above 200 lines, so that the list of races and what each of them runs can be read together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

import numpy as np
import pipelines
import textbook
import torch
from networks import model_of
from PIL import Image

import noisespace as ns
from noisespace.pictures import images
from noisespace.train.draw import held_out_scene

SOURCE = "a plain red circle on a blue background"
TARGETS = [
    f"a plain {colour} {shape} on a blue background"
    for colour in ("green", "yellow")
    for shape in ("circle", "square", "star", "cross")
]
STEPS, SKIP, W_SOURCE, W_TARGET = 100, 36, 3.5, 15.0
MODELS = ("scenes", "sd-10m")

# "full": what is timed; "light": fewer steps of null-text, whose peak of memory does not depend on
# them; "warm": a few steps of everything, which load the kernels
Extent = Literal["full", "light", "warm"]
EXTENTS: dict[Extent, tuple[int, int]] = {"full": (STEPS, 50), "light": (STEPS, 4), "warm": (4, 2)}
LARGE_STEPS = 6  # of the network of Stable Diffusion's size, four of which run: eight rows

Work = Callable[[], Any]


@dataclass(frozen=True)
class Race:
    """Two ways to the same end. ``make`` prepares both sides, ours and the baseline.

    ``cheap``: they take seconds at most; ``quick``: whether ``--quick`` runs it, and ``weighed``
    whether it then takes the memory too; ``apart``: timed too in processes of their own;
    ``judge``: the PSNR in dB of what each side gave, where the results are not the same; not timed.
    """

    name: str
    make: Callable[[], tuple[Work, Work]]
    cheap: bool = True
    quick: bool = True
    weighed: bool = False
    apart: bool = False
    judge: Callable[[Any], float] | None = None

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
    source: str  # what the picture shows

    @property
    def skip(self) -> int:
        return round(SKIP / STEPS * self.steps)

    @property
    def method(self) -> ns.EditFriendly:
        return ns.EditFriendly(skip=self.skip)

    def invert(self) -> ns.Code:
        options = {"steps": self.steps, "guidance": W_SOURCE}
        return ns.invert(self.model, self.x0, self.source, self.method, **options)

    def maps(self) -> textbook.Maps:
        return textbook.invert(self.model, self.x0, self.source, self.steps, W_SOURCE)

    def edit(self, code: ns.Code, targets: Any) -> Any:
        return ns.edit(self.model, code, targets, guidance=W_TARGET)

    def old(self, maps: textbook.Maps, target: str, keep: bool = True) -> torch.Tensor:
        """An edit of the public code, its attention kept; ours ends with a picture, so it too."""
        if keep:
            with textbook.storing(self.model.network):
                return self.old(maps, target, keep=False)
        x = textbook.edit(self.model, maps, target, self.skip, W_TARGET)
        with torch.no_grad():
            self.model.decode(x)
        return x

    def reconstructed(self, given: ns.Code | torch.Tensor) -> float:
        """PSNR of what a code, or latents, decode to, to the decoded input; dB."""
        latents = ns.reconstruct(self.model, given).latents if isinstance(given, ns.Code) else given
        with torch.no_grad():
            got, expected = (
                (self.model.decode(x) / 2 + 0.5).clamp(0, 1) for x in (latents, self.x0)
            )
        return round(float(-10 * (got - expected).pow(2).mean().clamp(min=1e-12).log10()), 2)


@cache
def setting(network: str, extent: Extent) -> Setting:
    model = model_of(network)
    side = model.resolution
    # null-text's thresholds and its PSNR mean something on pictures that the model knows
    noise = (np.random.default_rng(0).random((side, side, 3)) * 255).astype(np.uint8)
    scene = held_out_scene(0) if network == "scenes" else None
    picture, words = (scene.render(), scene.caption) if scene else (noise, SOURCE)
    steps, tuned = EXTENTS[extent]
    if network == "sd-1.5":  # without its encoder, which would take longer than a step
        steps = LARGE_STEPS if extent != "warm" else 1
        x0 = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    else:
        x0 = model.encode(images.to_tensor(picture))
    return Setting(network, steps, tuned, model, x0, Image.fromarray(picture), words)


def races(extent: Extent = "full", large: bool = False) -> list[Race]:
    """All pairs; ``large``: also a network of Stable Diffusion's size."""
    out = [one for network in MODELS for one in of_network(network, extent)]
    at = partial(setting, "scenes", extent)
    out += [
        Race("scenes: img2img of diffusers against SDEdit", lambda: img2img(at())),
        Race("scenes: LEDITS++ of diffusers against edit-friendly", lambda: ledits(at())),
        Race(
            "scenes: DiffEdit of diffusers against DDIM + --mask diffedit", lambda: diffedit(at())
        ),
    ]
    if large:
        name = f"sd-1.5, 512 pixels, {LARGE_STEPS} steps: inversion + edit"
        make = partial(both, partial(setting, "sd-1.5", extent))
        out.append(Race(name, make, cheap=False, quick=False, apart=True))
    return out


def of_network(network: str, extent: Extent) -> list[Race]:
    """The pairs of one network; ``--quick`` leaves the slow ones to `scenes`."""
    at, known = partial(setting, network, extent), network == "scenes"
    return [
        Race(f"{network}: edit-friendly inversion", lambda: inversion(at()), weighed=known),
        Race(f"{network}: inversion + edit", partial(both, at)),
        Race(
            f"{network}: inversion + edit, attention not kept",
            partial(both, at, keep=False),
            quick=False,
        ),
        Race(f"{network}: a further edit against a re-run", lambda: further(at())),
        Race(
            f"{network}: 8 prompts in a batch against one by one",
            lambda: prompts(at()),
            cheap=False,
            quick=False,
        ),
        Race(
            f"{network}: null-text",
            lambda: tuned(at()),
            cheap=False,
            quick=known,
            judge=lambda given: at().reconstructed(given),
        ),
        Race(
            f"{network}: null-text, the text's pass at every iteration",
            lambda: tuned(at(), fresh=True),
            cheap=False,
            quick=False,
            judge=lambda given: at().reconstructed(given),
        ),
        Race(f"{network}: DDIM inversion + edit", lambda: ddim(at()), quick=known),
    ]


def race(name: str, extent: Extent) -> Race:
    return next(one for one in races(extent, large=True) if one.name == name)


def inversion(s: Setting) -> tuple[Work, Work]:
    return s.invert, s.maps


def both(at: Callable[[], Setting], keep: bool = True) -> tuple[Work, Work]:
    s = at()
    return lambda: s.edit(s.invert(), TARGETS[0]), lambda: s.old(s.maps(), TARGETS[0], keep)


def further(s: Setting) -> tuple[Work, Work]:
    """A code is kept and edited again; the public scripts invert again for every prompt."""
    code = s.invert()
    return lambda: s.edit(code, TARGETS[0]), lambda: s.old(s.maps(), TARGETS[0])


def prompts(s: Setting) -> tuple[Work, Work]:
    """Edits of one inversion, that is made once on either side."""
    code, maps = s.invert(), s.maps()
    return lambda: s.edit(code, TARGETS), lambda: [s.old(maps, target) for target in TARGETS]


def tuned(s: Setting, fresh: bool = False) -> tuple[Work, Work]:
    """The inversions: ours by the fast solver, theirs as the public notebook (or ``fresh``).

    The race's ``judge`` gives the PSNR of what both reconstruct: a ratio at a lower one would be
    none.
    """

    def theirs() -> torch.Tensor:
        s.model.network.requires_grad_(True)  # as the notebook leaves it
        try:
            return textbook.null_text(s.model, s.x0, s.source, s.tuned, fresh=fresh)[1].detach()
        finally:
            s.model.network.requires_grad_(False)
            for p in s.model.network.parameters():
                p.grad = None

    def ours() -> ns.Code:
        return ns.invert(
            s.model, s.x0, s.source, ns.NullText(guidance=7.5, solver="gauss-newton"), steps=s.tuned
        )

    return ours, theirs


def ddim(s: Setting) -> tuple[Work, Work]:
    steps = max(2, s.steps // 2)

    def ours() -> None:
        code = ns.invert(s.model, s.x0, s.source, ns.DDIM(), steps=steps)
        ns.edit(s.model, code, TARGETS[0], guidance=7.5)

    def theirs() -> None:
        x = textbook.ddim(s.model, s.x0, s.source, TARGETS[0], steps)
        with torch.no_grad():
            s.model.decode(x)

    return ours, theirs


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
        s.edit(ns.invert(s.model, s.image, s.source, s.method, **options), TARGETS[0])

    skip = s.skip / s.steps
    return ours, lambda: pipelines.ledits(s.model, s.image, s.source, TARGETS[0], s.steps, skip)


def diffedit(s: Setting) -> tuple[Work, Work]:
    steps = max(10, s.steps // 2)

    def ours() -> None:
        code = ns.invert(s.model, s.image, s.source, ns.DDIM(stop=0.8), steps=steps)
        ns.edit(s.model, code, TARGETS[0], guidance=7.5, mask=ns.DiffEdit())

    return ours, lambda: pipelines.diffedit(s.model, s.image, s.source, TARGETS[0], steps, 7.5)
