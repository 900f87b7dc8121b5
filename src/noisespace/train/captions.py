"""Captions of scenes: one canonical, and many variants so that text matters."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from noisespace.train.palette import COLOURS, SHAPES, SYNONYMS, TEXTURES, WITH

if TYPE_CHECKING:
    from noisespace.train.scenes import Scene, SceneObject

OPENINGS = ("", "", "", "", "", "a picture of ", "a photo of ", "an image of ")


def canonical(scene: Scene) -> str:
    """The caption with every attribute that a judge looks at, in one fixed order."""
    names = [f"a {o.texture} {o.colour} {o.shape}" for o in scene.objects]
    article = _article(scene.background)
    return f"{_relate(scene, names)} on {article} {scene.background} background"


def patterns() -> list:
    """What canonical captions can be: [text with {slots}, {slot: its values}]."""
    thing = "a {{texture{0}}} {{colour{0}}} {{shape{0}}}"
    ground = {"ground": [f"{_article(colour)} {colour}" for colour in COLOURS]}

    def slots(number: int) -> dict[str, list[str]]:
        values = {"texture": TEXTURES, "colour": COLOURS, "shape": SHAPES}
        return {f"{name}{number}": list(some) for name, some in values.items()}

    one, two = thing.format(1), thing.format(2)
    relation = {"relation": ["left of", "right of", "above", "below"]}
    end = " on {ground} background"
    return [
        [one + end, {**slots(1), **ground}],
        [f"{one} {{relation}} {two}{end}", {**slots(1), **relation, **slots(2), **ground}],
    ]


def variant(scene: Scene, rng: random.Random) -> str:
    """A caption drawn at random: synonyms, word order, sizes and places named sometimes."""
    text = _relate(scene, [_name(o, rng) for o in scene.objects])
    if len(scene.objects) == 1 and rng.random() < 0.15:
        text += _where(scene.objects[0])
    opening = rng.choice(OPENINGS)
    if rng.random() < 0.06:
        return opening + text  # the background unsaid
    tone = _word(scene.background, rng)
    ground = f"{_article(tone)} {tone} background"
    if rng.random() < 0.12:
        return f"{opening}{ground} with {text}"
    if rng.random() < 0.12:
        return f"{opening}{text} on {tone}"
    return f"{opening}{text} {rng.choice(('on', 'on', 'on', 'against'))} {ground}"


def _name(thing: SceneObject, rng: random.Random) -> str:
    size = _size(thing, rng)
    shape, colour = _word(thing.shape, rng), _word(thing.colour, rng)
    how = rng.random()
    if thing.texture in WITH and how < 0.2:
        words = ["a", size, colour, shape, WITH[thing.texture]]
    elif how < 0.3:
        words = ["a", size, colour, _word(thing.texture, rng), shape]
    elif how < 0.36:
        words = ["a", size, colour, shape]  # the texture unsaid
    else:
        words = ["a", size, _word(thing.texture, rng), colour, shape]
    words = [word for word in words if word]
    return " ".join([_article(words[1]), *words[1:]])


def _size(thing: SceneObject, rng: random.Random) -> str:
    if rng.random() > 0.25:
        return ""
    if thing.size < 13:
        return _word("small", rng)
    return _word("large", rng) if thing.size > 18 else ""


def _where(thing: SceneObject) -> str:
    dx, dy = thing.place[0] - 32, thing.place[1] - 32
    if max(abs(dx), abs(dy)) < 5:
        return " in the middle"
    if abs(dx) > abs(dy) + 3:
        return " on the left" if dx < 0 else " on the right"
    if abs(dy) > abs(dx) + 3:
        return " at the top" if dy < 0 else " at the bottom"
    return ""


def _relate(scene: Scene, names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    first, second = (o.place for o in scene.objects)
    dx, dy = first[0] - second[0], first[1] - second[1]
    if abs(dx) >= abs(dy):
        relation = "left of" if dx < 0 else "right of"
    else:
        relation = "above" if dy < 0 else "below"
    return f"{names[0]} {relation} {names[1]}"


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _word(word: str, rng: random.Random) -> str:
    """The word itself two times in three, else a synonym."""
    options = SYNONYMS.get(word, (word,))
    return word if rng.random() < 2 / 3 else rng.choice(options)
