"""The words and tones that scenes are made of."""

from __future__ import annotations

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (245, 222, 50),
    "green": (45, 170, 70),
    "cyan": (60, 208, 215),
    "blue": (45, 80, 215),
    "purple": (140, 55, 185),
    "pink": (250, 140, 190),
    "white": (245, 245, 245),
    "black": (25, 25, 25),
}
SHAPES = ("circle", "square", "triangle", "diamond", "star", "heart", "cross", "ring")
TEXTURES = ("plain", "striped", "dotted")
GRADIENTS = ("none", "vertical", "horizontal", "diagonal")
RELATIONS = ("left of", "right of", "above", "below")

SIZES = {"small": 12.0, "medium": 15.5, "large": 19.0}  # radius in pixels
PLACES = {
    "left": (19.0, 32.0),
    "right": (45.0, 32.0),
    "top": (32.0, 19.0),
    "bottom": (32.0, 45.0),
    "middle": (32.0, 32.0),
}
SYNONYMS = {
    "circle": ("circle", "disc"),
    "square": ("square", "box"),
    "diamond": ("diamond", "rhombus"),
    "cross": ("cross", "plus"),
    "ring": ("ring", "hoop"),
    "red": ("red", "scarlet"),
    "purple": ("purple", "violet"),
    "cyan": ("cyan", "turquoise"),
    "plain": ("plain", "solid"),
    "dotted": ("dotted", "spotted"),
    "small": ("small", "little"),
    "large": ("large", "big"),
    "middle": ("middle", "centre"),
}
WITH = {"striped": "with stripes", "dotted": "with dots"}


def tones(colour: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The two tones of an object, RGB in [0, 1]: its colour, and a darker one (black: lighter)."""
    first = tuple(v / 255 for v in COLOURS[colour])
    if colour == "black":
        return first, (0.47, 0.47, 0.47)
    return first, tuple(0.45 * v for v in first)


def muted(colour: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The light and the dark end of a background of that name, RGB in [0, 1]."""
    tone = [0.55 * v / 255 + 0.45 * 150 / 255 for v in COLOURS[colour]]
    return tuple(min(1.0, 1.13 * v) for v in tone), tuple(0.87 * v for v in tone)


def vocabulary() -> tuple[str, ...]:
    """Every word of the captions, sorted: each becomes one token."""
    plain = [
        "a",
        "an",
        "the",
        "of",
        "on",
        "in",
        "at",
        "with",
        "and",
        "background",
        "against",
        "picture",
        "photo",
        "image",
        "drawing",
    ]
    words = {*plain, *["stripes", "dots", "side", "to", "is", "no", ","]}
    for group in (COLOURS, SHAPES, TEXTURES, SIZES, PLACES, WITH.values(), RELATIONS):
        words.update(word for text in group for word in text.split())
    words.update(word for group in SYNONYMS.values() for word in group)
    return tuple(sorted(words - {","}))
