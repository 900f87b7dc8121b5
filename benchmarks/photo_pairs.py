"""Edits of real photographs by rule: other colours of garments, other kinds of produce."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np

from noisespace.train.folder import Folder

MUTED = ("grey", "patterned")  # asking for these is no visible edit, or none that can be checked
LEAST = 8  # training images of what is asked for
# produce that stands in for another in a shop: what is asked for of each, both ways
SWAPS = (
    ("granny smith", "red delicious"),
    ("golden delicious", "pink lady"),
    ("royal gala", "granny smith"),
    ("lemon", "lime"),
    ("lemon", "orange"),
    ("orange", "red grapefruit"),
    ("satsumas", "lemon"),
    ("peach", "plum"),
    ("kiwi", "avocado"),
    ("red bell pepper", "yellow bell pepper"),
    ("orange bell pepper", "red bell pepper"),
    ("cucumber", "carrots"),
    ("vine tomato", "yellow onion"),
    ("watermelon", "cantaloupe"),
    ("galia melon", "watermelon"),
    ("floury potato", "red beet"),
    ("conference", "granny smith"),
    ("zucchini", "aubergine"),
    ("banana", "carrots"),
)


@dataclass(frozen=True)
class Pair:
    """One edit: an image of the folder, its caption, what is asked for, and what shows success."""

    number: int
    source: str
    target: str
    rule: str  # "colour" or "kind"
    column: str  # of the table, which a classifier reads
    wanted: str

    def image(self, data: Folder) -> np.ndarray:
        return np.ascontiguousarray(data.pixels[self.number])


def pairs(data: Folder, colours: int, kinds: int, unseen: bool = True) -> list[Pair]:
    """Pairs of both rules in turn, seeded; ``unseen`` False takes training images (for tuning)."""
    rng = random.Random(f"photo pairs {unseen}")
    numbers = data.numbers(unseen)
    rng.shuffle(numbers)
    garments = spread([p for n in numbers if (p := colour_pair(data, n, rng))], colours)
    produce = spread([p for n in numbers if (p := kind_pair(data, n, rng))], kinds)
    mixed = [p for both in zip(garments, produce, strict=False) for p in both]
    rest = [p for p in [*garments, *produce] if p not in mixed]
    return mixed + rest


def spread(found: list[Pair], count: int) -> list[Pair]:
    """``count`` pairs of as many different wishes as there are."""
    kept: list[Pair] = []
    while found and len(kept) < count:
        seen: set[tuple[str, str]] = set()
        late = []
        for pair in found:
            wish = (pair.source.split()[-1], pair.wanted)
            (late if wish in seen else kept).append(pair)
            seen.add(wish)
        found = late
    return kept[:count]


def about(data: Folder, number: int) -> dict[str, Any]:
    return data.about[number]


def captions_of(data: Folder, **wanted: str) -> dict[str, int]:
    """The captions of training images with these values, and how many images have them."""
    counts: dict[str, int] = {}
    for i in data.numbers(unseen=False):
        if all(about(data, i).get(k) == v for k, v in wanted.items()):
            counts[data.captions[i]] = counts.get(data.captions[i], 0) + 1
    return counts


def colour_pair(data: Folder, number: int, rng: random.Random) -> Pair | None:
    """A garment in another colour that garments of its kind have."""
    row = about(data, number)
    if row.get("colour") in (None, "patterned"):
        return None
    kind, own = row["kind"], row["colour"]
    palette = sorted({str(r.get("colour")) for r in data.about if r.get("kind") == kind})
    wishes = []
    for colour in palette:
        if colour in (own, *MUTED, "None"):
            continue
        found = captions_of(data, kind=kind, colour=colour)
        if sum(found.values()) >= LEAST:
            wishes.append((colour, max(found, key=lambda text: found[text])))
    if not wishes:
        return None
    colour, text = rng.choice(wishes)
    return Pair(number, data.captions[number], text, "colour", "colour", colour)


def kind_pair(data: Folder, number: int, rng: random.Random) -> Pair | None:
    """Produce as another kind of SWAPS."""
    own = about(data, number).get("name")
    wishes = [b for a, b in SWAPS if a == own] + [a for a, b in SWAPS if b == own]
    wishes = [w for w in wishes if sum(captions_of(data, name=w).values()) >= LEAST]
    if not wishes:
        return None
    wish = rng.choice(wishes)
    found = captions_of(data, name=wish)
    text = max(found, key=lambda t: found[t])
    return Pair(number, data.captions[number], text, "kind", "name", wish)
