"""A folder of captioned images as a data set: read once, brought to size, kept beside the run."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from noisespace.errors import InputError
from noisespace.train.pixels import cached, identity, in_memory, keep
from noisespace.train.tables import LEAST, records_of

LARGEST_VOCABULARY = 4096
LARGEST_CAPTIONS = 10**6  # bytes of captions.json, which is read up to 1 MiB
MULTIPLE = 32  # of sizes that are proposed: whatever shrinks a picture in the presets
LARGER = 1.25  # an image may be enlarged by as much
UNOPENED = 0.1  # share of captions that are told without the opening that all have
NEAREST = 12  # captions that a caption is held against
AT_ONCE = 256  # images that are looked at together, where all are


@dataclass(frozen=True)
class View:
    """One look at an image: its number, mirrored or not, and the window that is cut out.

    ``window``: (left, top, side) as shares of the image.
    """

    index: int
    mirrored: bool = False
    window: tuple[float, float, float] = (0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Folder:
    """Captioned images at one size; ``pixels`` (n, size, size, 3) uint8, on disk or in memory.

    Training sees windows of 85 to 100 % of an image's side, half of them mirrored where ``mirror``;
    unseen images are looked at as they are.
    """

    name: str
    size: int
    pixels: np.ndarray
    captions: tuple[str, ...]
    kept: tuple[bool, ...]  # from training
    about: tuple[dict[str, Any], ...] = ()
    mirror: bool = True

    def words(self) -> tuple[str, ...]:
        """The most frequent words of all captions, most frequent first."""
        counts = Counter(word for text in self.captions for word in text.lower().split())
        ordered = sorted(counts, key=lambda word: (-counts[word], word))
        return tuple(ordered[:LARGEST_VOCABULARY])

    def numbers(self, unseen: bool) -> list[int]:
        """The images of one split."""
        return [i for i, kept in enumerate(self.kept) if kept == unseen]

    def draw(self, rng: random.Random, count: int, unseen: bool = False) -> list[View]:
        some = self.numbers(unseen)
        if unseen:
            return [View(rng.choice(some)) for _ in range(count)]
        return [self._look(rng.choice(some), rng) for _ in range(count)]

    def _look(self, index: int, rng: random.Random) -> View:
        side = rng.uniform(0.85, 1.0)
        window = (rng.uniform(0, 1 - side), rng.uniform(0, 1 - side), side)
        return View(index, self.mirror and rng.random() < 0.5, window)

    def pictures(self, items: list[View]) -> Tensor:
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            return torch.stack(list(pool.map(self._seen, items)))

    def _seen(self, view: View) -> Tensor:
        array, (left, top, side) = self.pixels[view.index], view.window
        if side < 1:
            box = (left * self.size, top * self.size)
            box = (*box, box[0] + side * self.size, box[1] + side * self.size)
            whole = (self.size, self.size)
            resized = Image.fromarray(array).resize(whole, Image.Resampling.BICUBIC, box=box)
            array = np.asarray(resized)
        x = torch.from_numpy(array.copy()).permute(2, 0, 1).float() / 127.5 - 1
        return x.flip(2) if view.mirrored else x

    def parts(self, items: list[View]) -> Iterator[Tensor]:
        """The pictures of many items, some at a time."""
        for start in range(0, len(items), AT_ONCE):
            yield self.pictures(items[start : start + AT_ONCE])

    def caption(self, item: View, rng: random.Random) -> str:
        """The image's caption, now and then without the opening that all captions have."""
        text = self.captions[item.index]
        return text[len(self._opening) :] if rng.random() < UNOPENED else text

    @cached_property
    def _opening(self) -> str:
        """The words that all captions begin with ("a photo of "), if they all go on after them."""
        split = [text.split(" ") for text in self.vocabulary()]
        shared = 0
        while all(len(w) > shared + 1 and w[shared] == split[0][shared] for w in split):
            shared += 1
        return "".join(word + " " for word in split[0][:shared])

    def wrong_caption(self, item: View, rng: random.Random) -> str | None:
        """One of the other captions that have most words in common with the item's."""
        near = self._near.get(self.captions[item.index])
        return rng.choice(near) if near else None

    @cached_property
    def _near(self) -> dict[str, tuple[str, ...]]:
        known = self.vocabulary()
        if len(known) > LARGEST_VOCABULARY:  # too many to compare each with each
            return {}
        words = {text: frozenset(text.lower().split()) for text in known}
        found = {}
        for text, own in words.items():
            others = sorted((len(own ^ words[o]), o) for o in known if o != text)
            found[text] = tuple(o for away, o in others[:NEAREST] if away < len(own))
        return found

    def vocabulary(self) -> tuple[str, ...]:
        """The distinct captions of the training images, most frequent first."""
        counts = Counter(self.captions[i] for i in self.numbers(unseen=False))
        return tuple(sorted(counts, key=lambda text: (-counts[text], text)))

    def patterns(self) -> list:
        """The most frequent captions: as many as are soon searched and fit into captions.json."""
        found, room = [], LARGEST_CAPTIONS
        for text in self.vocabulary()[:LARGEST_VOCABULARY]:
            room -= len(json.dumps(text)) + len(",\n")
            if room >= 0:
                found.append(text)
        return found

    def value(self, item: View, column: str) -> Any:
        """What the folder's table says of an item in one column, None where it says nothing."""
        return self.about[item.index].get(column)


def read_folder(
    folder: Path, size: int, cache: Path | None = None, mirror: bool = True, begun: bool = False
) -> Folder:
    """The images of a folder at ``size`` pixels, cut to squares from the middle.

    Captions come from ``metadata.jsonl`` (file_name, and text or caption), ``metadata.csv`` (the
    same columns), or ``captions.json`` beside an ``images.npz`` (either ``images``, uint8
    (n, h, w, 3), or ``data`` and ``offsets``, files one after the other). A column ``split`` that
    says val or test keeps an image from training; without it one in twenty is kept, at least
    LEAST. Images that cannot be read are reported, skipped and counted. ``cache``: where the pixels
    are kept, so that a run that goes on need not read them again; ``begun``: it did begin.

    Raises InputError for a folder without captions, for too few images, for images that are
    smaller than ``size``, and for others than a run began with.
    """
    records = records_of(folder)
    if len(records) < 2 * LEAST:
        raise InputError(
            f"{folder}: has {len(records)} captioned images, expected at least {2 * LEAST}"
        )
    told = json.dumps([size, [(identity(r.source), r.caption, r.unseen) for r in records]])
    made_by = hashlib.sha256(told.encode()).hexdigest()
    if cache is None:
        pixels, good, side = in_memory(records, size)
    else:
        pixels, good, side = cached(cache, made_by) or keep(cache, made_by, records, size, begun)
    if not good:
        raise InputError(f"{folder}: none of its {len(records)} images could be read")
    check_side(folder, side, size)
    some = [records[i] for i in good]
    for what, unseen in (("training", False), ("validation", True)):
        count = sum(r.unseen == unseen for r in some)
        if count < LEAST:
            raise InputError(
                f"{folder}: has {count} readable {what} images, expected at least {LEAST}: add "
                "some, or change the column split"
            )
    captions, kept = tuple(r.caption for r in some), tuple(r.unseen for r in some)
    about = tuple(r.about for r in some)
    return Folder(folder.name, size, pixels, captions, kept, about, mirror)


def check_side(folder: Path, side: int, size: int) -> None:
    """InputError where images of ``side`` pixels would have to be enlarged too much."""
    if side >= size / LARGER:
        return
    fitting = int(side * LARGER) // MULTIPLE * MULTIPLE
    what = f"use --set size={fitting}, or larger images" if fitting else "use larger images"
    raise InputError(
        f"{folder}: its images have about {side} pixels a side, the settings ask for {size}; {what}"
    )
