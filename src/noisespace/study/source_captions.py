"""Source captions of one picture of two objects, of which one is edited."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache

from noisespace.bench.scenes import SceneEdit
from noisespace.study.two_objects import two_object_edits
from noisespace.train.palette import SYNONYMS
from noisespace.train.scenes import Scene

FULL, ALONE, OTHER = "full", "edited object only", "other object only"
SYNONYM, TURNED = "full, synonyms", "full, turned round"
BOTH = "edited object only, both prompts"
WITHOUT = (OTHER, "generic", "unrelated", "empty")  # do not name the edited object
NAMED = (FULL, SYNONYM, TURNED, ALONE)
NAMES = (*NAMED, *WITHOUT, BOTH)
CONTROLS = (SYNONYM, TURNED, BOTH)


def alone(scene: Scene, index: int) -> str:
    """The caption that names one of the objects, and the background."""
    return replace(scene, objects=(scene.objects[index],)).caption


def synonym(word: str) -> str:
    return SYNONYMS.get(word, (word,))[-1]


def turned(scene: Scene) -> str:
    """The full caption with its background first."""
    objects, ground = scene.caption.rsplit(" on ", 1)
    return f"{ground} with {objects}"


@cache
def strangers() -> list[Scene]:
    """Scenes whose captions serve as unrelated ones."""
    return [edit.scene for edit in two_object_edits(200)[100:]]


def unrelated(edit: SceneEdit) -> str:
    """Another scene's caption, of other shapes and colours than the edited object's."""
    thing = edit.scene.objects[0]
    rng = random.Random(edit.scene.caption)
    return rng.choice(
        [
            scene.caption
            for scene in strangers()
            if all(o.shape != thing.shape and o.colour != thing.colour for o in scene.objects)
            and scene.background != thing.colour
        ]
    )


def source(name: str, edit: SceneEdit) -> str:
    """A source caption by its name."""
    scene = edit.scene
    return {
        FULL: scene.caption,
        SYNONYM: " ".join(synonym(word) for word in scene.caption.split()),
        TURNED: turned(scene),
        ALONE: alone(scene, 0),
        OTHER: alone(scene, 1),
        "generic": "a picture",
        "unrelated": unrelated(edit),
        "empty": "",
        BOTH: alone(scene, 0),
    }[name]


def target(name: str, edit: SceneEdit) -> str:
    """The prompt that asks for the edit."""
    return alone(edit.truth, 0) if name == BOTH else edit.truth.caption


def naming(name: str, edit: SceneEdit) -> str | None:
    """The noun of the edited object in a source caption, where it is there and no other is."""
    first, second = edit.scene.objects
    if name not in NAMED or first.shape == second.shape:
        return None
    return synonym(first.shape) if name == SYNONYM else first.shape
