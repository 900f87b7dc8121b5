"""Held-out procedural scenes with one edit each, whose true result and place are known."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from noisespace.bench.cases import Case
from noisespace.train.draw import random_scene
from noisespace.train.palette import COLOURS, SHAPES, TEXTURES
from noisespace.train.scenes import Scene, render_scenes

KINDS = ("colour", "shape", "texture", "background", "removed")
COUNT = 100  # scenes where nobody says how many


@dataclass(frozen=True)
class SceneEdit:
    """A scene, what is changed in it, and what comes out in truth. Object 0 is the edited one."""

    kind: str
    scene: Scene
    truth: Scene

    @property
    def touched(self) -> np.ndarray:
        """Where the edit may act: the edited object before and after; all of the background's."""
        if self.kind == "background":
            return 1 - np.maximum(self.scene.mask(0), self.scene.mask(1))
        after = 0 if self.kind == "removed" else self.truth.mask(0)
        return np.maximum(self.scene.mask(0), after)

    @property
    def blend(self) -> tuple[str, str] | None:
        """The words of LocalBlend: the edited object's shape, which both prompts have."""
        if self.kind in ("colour", "texture", "shape"):
            return self.scene.objects[0].shape, self.truth.objects[0].shape
        return None


def scene_edits(count: int, seed: str = "editors") -> list[SceneEdit]:
    """Two-object scenes of held-out triples, seeded, each with one edit; the kinds in turn."""
    rng = random.Random(seed)
    out: list[SceneEdit] = []
    while len(out) < count:
        scene = random_scene(rng, held_out=True, objects=2)
        kind, (thing, other) = KINDS[len(out) % len(KINDS)], scene.objects
        if thing.triple == other.triple:
            continue
        if kind == "removed":
            out.append(SceneEdit(kind, scene, Scene((other,), scene.background, scene.gradient)))
            continue
        out.append(SceneEdit(kind, scene, changed(rng, scene, kind)))
    return out


def changed(rng: random.Random, scene: Scene, kind: str) -> Scene:
    """The scene with one attribute of its first object, or its background, drawn anew.

    A new colour is none that the scene has.
    """
    thing = scene.objects[0]
    used = (scene.background, *(o.colour for o in scene.objects))
    free = [colour for colour in COLOURS if colour not in used]
    choices = {
        "colour": free,
        "shape": [shape for shape in SHAPES if shape != thing.shape],
        "texture": [texture for texture in TEXTURES if texture != thing.texture],
        "background": free,
    }[kind]
    change: dict[str, Any] = {kind: rng.choice(choices)}
    return scene.edited(**change)


def grown(mask: np.ndarray, by: int = 3) -> np.ndarray:
    """A mask widened by some pixels: a soft edge of the object is not structure outside it."""
    wide = torch.from_numpy(mask).float()[None, None]
    return torch.nn.functional.max_pool2d(wide, 2 * by + 1, 1, by)[0, 0].numpy() > 0.05


def place(edit: SceneEdit) -> np.ndarray:
    """The mask of a scene's case: where the edit may act, and the soft edge around it."""
    return grown(edit.touched)


def scene_cases(count: int | None = None, seed: int = 0) -> list[Case]:
    """Scenes as cases, with true edits and true masks; the first ones of any larger count."""
    edits = scene_edits(COUNT if count is None else count, f"bench {seed}")
    if not edits:
        return []
    before = render_scenes([edit.scene for edit in edits])
    after = render_scenes([edit.truth for edit in edits])
    cases = []
    for number, (edit, image, truth) in enumerate(zip(edits, before, after, strict=True)):
        about = {"data": "scenes", "edit": edit, "blend": edit.blend}
        cases.append(
            Case(
                id=f"scene-{number:04d}",
                image=image,
                source=edit.scene.caption,
                target=edit.truth.caption,
                mask=partial(place, edit),
                truth=truth,
                kind=edit.kind,
                about=about,
            )
        )
    return cases
