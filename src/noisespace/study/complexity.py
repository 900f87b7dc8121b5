"""The same edit of the same object under simpler and more complex prompts."""

from __future__ import annotations

import random
from dataclasses import replace

from noisespace.bench.scenes import SceneEdit, changed
from noisespace.study.two_objects import two_object_edits
from noisespace.train.scenes import Scene

# a prompt is complex where it names a second object, or where two attributes change at once
ONE = "one object, one change"
PROMPTS = (ONE, "one object, two changes", "two objects, one change", "two objects, two changes")
KINDS = ("colour", "shape", "texture")
# what changes besides: never the shape, so that the edited region stays the same
SECOND = {"colour": "texture", "shape": "texture", "texture": "colour"}


def edits_of(prompts: str, count: int, seed: int) -> list[SceneEdit]:
    """Edits of one object, which is the same for each of ``PROMPTS``; its first change is too."""
    found = []
    for one in two_object_edits(count, seed, KINDS):
        edit = also(one) if "two changes" in prompts else one
        if "one object" in prompts:
            edit = replace(edit, scene=without(edit.scene), truth=without(edit.truth))
        found.append(edit)
    return found


def without(scene: Scene) -> Scene:
    """The scene with its first object alone."""
    return replace(scene, objects=scene.objects[:1])


def also(one: SceneEdit) -> SceneEdit:
    """The edit with another attribute of the same object changed too."""
    kind = SECOND[one.kind]
    truth = changed(random.Random(one.scene.caption), one.truth, kind)
    return SceneEdit(f"{one.kind}, {kind}", one.scene, truth)
