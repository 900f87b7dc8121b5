"""Drawing scenes at random: seeded, with the held-out triples kept apart."""

from __future__ import annotations

import random
from dataclasses import replace

from noisespace.train.palette import COLOURS, GRADIENTS, SHAPES, TEXTURES
from noisespace.train.scenes import HELD_OUT, LARGEST, SMALLEST, TRIPLES, Scene, SceneObject

MARGIN = 1.16  # an object's reach beyond its radius, in radii
SHOWN = tuple(t for t in TRIPLES if t not in HELD_OUT)
KEPT = tuple(sorted(HELD_OUT))


def random_scene(rng: random.Random, held_out: bool = False, objects: int | None = None) -> Scene:
    """A scene drawn from ``rng``: of held-out triples only, or of none.

    ``objects`` is 1 or 2; None draws one object seven times in ten.
    """
    count = objects if objects is not None else (1 if rng.random() < 0.7 else 2)
    triples = [rng.choice(KEPT if held_out else SHOWN) for _ in range(count)]
    background = rng.choice([c for c in COLOURS if c not in {t[1] for t in triples}])
    gradient = rng.choice(GRADIENTS)
    spots = _one(rng) if count == 1 else _two(rng)
    things = tuple(
        SceneObject(*triple, size=size, place=place)
        for triple, (size, place) in zip(triples, spots, strict=True)
    )
    return Scene(things, background, gradient)


def near_miss(scene: Scene, rng: random.Random) -> Scene:
    """The scene with one attribute of one object, or the background, changed."""
    free = [
        c for c in COLOURS if c != scene.background and c not in (o.colour for o in scene.objects)
    ]
    values = {"shape": SHAPES, "texture": TEXTURES, "colour": free}
    name = rng.choice(("shape", "shape", "texture", "colour", "background"))
    if name == "background":
        return replace(scene, background=rng.choice(free))
    index = rng.randrange(len(scene.objects))
    things = list(scene.objects)
    own = getattr(things[index], name)
    other = rng.choice([value for value in values[name] if value != own])
    things[index] = replace(things[index], **{name: other})
    return replace(scene, objects=tuple(things))


def held_out_scene(seed: int = 0) -> Scene:
    """A single object of a held-out triple: never seen in training."""
    return random_scene(random.Random(f"held-out {seed}"), held_out=True, objects=1)


def _one(rng: random.Random) -> list[tuple[float, tuple[float, float]]]:
    size = rng.uniform(SMALLEST + 1, LARGEST - 1)
    low, high = MARGIN * size + 1, 63 - MARGIN * size
    return [(size, (rng.uniform(low, high), rng.uniform(low, high)))]


def _two(rng: random.Random) -> list[tuple[float, tuple[float, float]]]:
    """Two objects side by side or one above the other, in either order, not touching."""
    spots = []
    flat, swap = rng.random() < 0.5, rng.random() < 0.5
    for sign in (1, -1) if swap else (-1, 1):
        size = rng.uniform(SMALLEST, SMALLEST + 2.5)
        along = 32 + sign * rng.uniform(15.0, 17.0)
        low, high = MARGIN * size + 1, 63 - MARGIN * size
        across = rng.uniform(max(low, 22), min(high, 42))
        spots.append((size, (along, across) if flat else (across, along)))
    return spots
