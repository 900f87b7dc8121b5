"""Source captions of one picture, and the edits that benchmarks/captions.py tries them on."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache

from editors import Case, cases

from noisespace.train.palette import SYNONYMS
from noisespace.train.scenes import Scene

KINDS = ("colour", "shape", "texture")
NAMED = ("full", "full, synonyms", "full, turned round", "edited object only")
BOTH = "edited object only, both prompts"
NAMES = (*NAMED, "other object only", "generic", "unrelated", "empty", BOTH)
CONTROLS = ("full, synonyms", "full, turned round", BOTH)  # under the first row only


def chosen(count: int) -> list[Case]:
    """Edits of one object: the scenes of editors.py, without the background's and the removals."""
    return [case for case in cases(count * 5 // 3 + 5) if case.kind in KINDS][:count]


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
    return [case.scene for case in cases(200)[100:]]


def unrelated(case: Case) -> str:
    """Another scene's caption, of other shapes and colours than the edited object's."""
    thing = case.scene.objects[0]
    rng = random.Random(case.scene.caption)
    return rng.choice(
        [
            scene.caption
            for scene in strangers()
            if all(o.shape != thing.shape and o.colour != thing.colour for o in scene.objects)
            and scene.background != thing.colour
        ]
    )


def source(name: str, case: Case) -> str:
    """A source caption by its name."""
    scene = case.scene
    return {
        "full": scene.caption,
        "full, synonyms": " ".join(synonym(word) for word in scene.caption.split()),
        "full, turned round": turned(scene),
        "edited object only": alone(scene, 0),
        "other object only": alone(scene, 1),
        "generic": "a picture",
        "unrelated": unrelated(case),
        "empty": "",
        BOTH: alone(scene, 0),
    }[name]


def target(name: str, case: Case) -> str:
    """The prompt that asks for the edit."""
    return alone(case.truth, 0) if name == BOTH else case.truth.caption


def naming(name: str, case: Case) -> str | None:
    """The noun of the edited object in a source caption, where it is there and no other is."""
    first, second = case.scene.objects
    if name not in NAMED or first.shape == second.shape:
        return None
    return synonym(first.shape) if "synonyms" in name else first.shape
