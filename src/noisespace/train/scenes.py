"""Procedural scenes: one or two objects on a background, with captions, masks and true edits.

A scene is a value. It renders, gives its caption, and ``edited`` gives the *true* counterfactual:
the same scene with one attribute changed, to compare an edit with.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from noisespace.errors import InputError
from noisespace.train import captions, render
from noisespace.train.palette import (
    COLOURS,
    GRADIENTS,
    PLACES,
    SHAPES,
    SIZES,
    TEXTURES,
    muted,
    tones,
)

SMALLEST, LARGEST = 10.0, 22.0  # radius in pixels: below, a texture cannot be seen
SEPARATION = (14.5, 15.5)  # of each of two objects from the middle, in pixels


def _held_out(seed: int = 0) -> frozenset[tuple[str, str, str]]:
    """24 of the 240 triples: 3 of each shape (one a texture), 2 or 3 of each colour."""
    colours, shapes = list(COLOURS), list(SHAPES)
    generator = random.Random(seed)
    generator.shuffle(colours)
    generator.shuffle(shapes)
    return frozenset(
        (shape, colours[(3 * i + j) % len(colours)], texture)
        for i, shape in enumerate(shapes)
        for j, texture in enumerate(TEXTURES)
    )


HELD_OUT = _held_out()  # (shape, colour, texture) triples that training never shows
TRIPLES = tuple((s, c, t) for s in SHAPES for c in COLOURS for t in TEXTURES)


@dataclass(frozen=True)
class SceneObject:
    """One object; ``size`` is its radius and ``place`` its centre (x, y), both in pixels."""

    shape: str
    colour: str
    texture: str = "plain"
    size: float = SIZES["medium"]
    place: tuple[float, float] = PLACES["middle"]

    def __post_init__(self) -> None:
        _check("shape", self.shape, SHAPES)
        _check("colour", self.colour, COLOURS)
        _check("texture", self.texture, TEXTURES)
        object.__setattr__(self, "size", _size(self.size))
        object.__setattr__(self, "place", _place(self.place))

    @property
    def triple(self) -> tuple[str, str, str]:
        """What HELD_OUT is about."""
        return self.shape, self.colour, self.texture


@dataclass(frozen=True)
class Scene:
    """One or two objects (the second lies on top) on a background; 64 x 64 pixels."""

    objects: tuple[SceneObject, ...]
    background: str
    gradient: str = "none"

    def __post_init__(self) -> None:
        object.__setattr__(self, "objects", tuple(self.objects))
        if len(self.objects) not in (1, 2):
            raise InputError(f"got {len(self.objects)} objects in a scene, expected 1 or 2")
        _check("background", self.background, COLOURS)
        _check("gradient", self.gradient, GRADIENTS)
        for thing in self.objects:
            if thing.colour == self.background:
                raise InputError(
                    f"got a {thing.colour} object on a {self.background} background, "
                    "expected two different colours"
                )

    @property
    def caption(self) -> str:
        """The canonical caption: every attribute that a judge looks at, in one fixed order."""
        return captions.canonical(self)

    def captions(self, generator: random.Random) -> str:
        """One of the scene's many captions, drawn at random: synonyms, word order, sizes, ..."""
        return captions.variant(self, generator)

    def render(self) -> np.ndarray:
        """The picture: uint8 (64, 64, 3)."""
        return render_scenes([self])[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        picture = self.render()
        return picture if dtype is None else picture.astype(dtype)

    def mask(self, index: int = 0) -> np.ndarray:
        """The share of each pixel that shows object ``index``: float32 (64, 64)."""
        if not 0 <= index < len(self.objects):
            raise InputError(f"got object {index}, expected 0 to {len(self.objects) - 1}")
        layers = render.coverage(pack(self.objects))
        seen = layers[index]
        for above in layers[index + 1 :]:
            seen = seen * (1 - above)
        return seen.numpy()

    def edited(self, *, object: int = 0, **changes: Any) -> Scene:
        """The true counterfactual: color/colour, shape, texture, size, place, background, gradient.

        ``object`` selects which object; all that is not named stays as it is.
        """
        if "color" in changes:
            changes["colour"] = changes.pop("color")
        known = {"shape", "colour", "texture", "size", "place", "background", "gradient"}
        if not changes or set(changes) - known:
            got = ", ".join(sorted(set(changes) - known)) or "nothing"
            raise InputError(f"got {got} to change, expected some of {', '.join(sorted(known))}")
        if not 0 <= object < len(self.objects):
            raise InputError(f"got object={object}, expected 0 to {len(self.objects) - 1}")
        whole = {k: changes.pop(k) for k in ("background", "gradient") if k in changes}
        things = list(self.objects)
        things[object] = replace(things[object], **changes)
        return replace(self, objects=tuple(things), **whole)


def pack(objects: Sequence[SceneObject]) -> render.Objects:
    """Objects as the tensors the renderer works on."""
    ends = [tones(o.colour) for o in objects]
    return render.Objects(
        shape=torch.tensor([SHAPES.index(o.shape) for o in objects]),
        texture=torch.tensor([TEXTURES.index(o.texture) for o in objects]),
        first=torch.tensor([e[0] for e in ends]),
        second=torch.tensor([e[1] for e in ends]),
        radius=torch.tensor([o.size for o in objects]),
        x=torch.tensor([o.place[0] for o in objects]),
        y=torch.tensor([o.place[1] for o in objects]),
    )


def render_batch(scenes: Sequence[Scene]) -> torch.Tensor:
    """Float pictures in [0, 1], (n, 3, 64, 64)."""
    ends = [muted(s.background) for s in scenes]
    picture = render.background(
        torch.tensor([e[0] for e in ends]),
        torch.tensor([e[1] for e in ends]),
        torch.tensor([GRADIENTS.index(s.gradient) for s in scenes]),
    )
    picture = render.compose(picture, pack([s.objects[0] for s in scenes]))
    rows = [i for i, s in enumerate(scenes) if len(s.objects) == 2]
    if rows:
        picture[rows] = render.compose(picture[rows], pack([scenes[i].objects[1] for i in rows]))
    return picture


def render_scenes(scenes: Sequence[Scene]) -> np.ndarray:
    """Pictures as uint8 (n, 64, 64, 3)."""
    return (render_batch(scenes) * 255).round().byte().permute(0, 2, 3, 1).numpy()


def _check(name: str, value: Any, known: Any) -> None:
    if value not in known:
        raise InputError(f"got {name}={value!r}, expected one of {', '.join(known)}")


def _size(value: Any) -> float:
    if isinstance(value, str):
        _check("size", value, SIZES)
        return SIZES[value]
    if not SMALLEST <= float(value) <= LARGEST:
        raise InputError(f"got size={value!r}, expected {SMALLEST} to {LARGEST} pixels")
    return float(value)


def _place(value: Any) -> tuple[float, float]:
    if isinstance(value, str):
        _check("place", value, PLACES)
        return PLACES[value]
    x, y = (float(v) for v in value)
    if not (0 <= x <= render.SIZE and 0 <= y <= render.SIZE):
        raise InputError(f"got place={value!r}, expected x and y in 0 to {render.SIZE}")
    return x, y
