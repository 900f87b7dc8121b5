"""Scenes to translate and to paint, and what the paint should give (claims C10 and C11)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from noisespace.api import edit, invert, reconstruct
from noisespace.core.code import Code
from noisespace.editing import ColorEdit
from noisespace.inversion import EditFriendly, SDEdit
from noisespace.study.finding import Row
from noisespace.study.measure import psnr
from noisespace.study.subjects import SceneEdit, joined, judged
from noisespace.train.draw import random_scene
from noisespace.train.palette import COLOURS, tones
from noisespace.train.scenes import Scene


def textured(count: int, name: str = "operations") -> list[Scene]:
    """Textured objects with room to the right, the same for the same ``name``."""
    rng, out = random.Random(name), []
    while len(out) < count:
        scene = random_scene(rng, objects=1)
        thing = scene.objects[0]
        if thing.texture != "plain" and thing.size < 17 and thing.place[0] + thing.size < 50:
            out.append(scene)
    return out


def recoloured(scene: Scene) -> Scene:
    """The scene in another colour: the first that is neither its own nor the background's."""
    used = (scene.objects[0].colour, scene.background)
    return scene.edited(colour=next(c for c in ("red", "cyan", *COLOURS) if c not in used))


def strokes(scene: Scene, truth: Scene) -> np.ndarray:
    """The object's place painted over in the new colour, RGBA uint8 (64, 64, 4)."""
    layer = np.zeros((64, 64, 4), np.uint8)
    tone = (255 * np.array(tones(truth.objects[0].colour)[0])).round()
    layer[scene.mask() > 0.5] = (*tone.astype(np.uint8), 255)
    return layer


def frozen_codes(model: Any, scenes: Sequence[Scene], steps: int, seeds: Sequence[int]) -> Code:
    """Edit-friendly codes of scenes under no prompt, as one batch."""
    options = {"steps": steps, "guidance": 1.0, "seed": list(seeds)}
    return invert(model, list(scenes), "", EditFriendly(), **options)


def painted_maps(model: Any, code: Code, scenes: Sequence[Scene], **settings: Any) -> list:
    """Pictures of codes into whose noise maps the strokes were painted."""
    edits = [
        ColorEdit(strokes=strokes(s, recoloured(s)), **settings)(model, code.of_image(i))
        for i, s in enumerate(scenes)
    ]
    return reconstruct(model, joined(edits)).images


def painted_over(
    model: Any, scenes: Sequence[Scene], strength: float, steps: int, seeds: Sequence[int]
) -> list:
    """Pictures that SDEdit makes of the strokes painted over the scenes, under no prompt."""
    codes = [
        invert(
            model,
            scene,
            "",
            SDEdit(strength, strokes=strokes(scene, recoloured(scene)), eta=1.0),
            steps=steps,
            seed=seed,
        )
        for scene, seed in zip(scenes, seeds, strict=True)
    ]
    return edit(model, joined(codes), [""] * len(codes), guidance=1.0).images


def colour_scores(scenes: Sequence[Scene], pictures: Sequence[Any]) -> list[Row]:
    """Of each recolouring: PSNR to the true one and outside (dB), what the judge reads."""
    rows = []
    for scene, picture, verdict in zip(scenes, pictures, judged(pictures), strict=True):
        truth = recoloured(scene)
        thing = truth.objects[0]
        rows.append(
            {
                "truth": psnr(picture, truth.render()),
                "outside": psnr(picture, scene.render(), SceneEdit("colour", scene, truth).outside),
                "colour": verdict.colour == thing.colour,
                "texture": verdict.texture == thing.texture,
                "all": (verdict.colour, verdict.texture, verdict.shape)
                == (thing.colour, thing.texture, thing.shape),
            }
        )
    return rows
