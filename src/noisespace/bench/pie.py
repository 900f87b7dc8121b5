"""PIE-Bench (arXiv 2310.01506): 700 images, ten kinds of edit, a mask each.

The layout is that of github.com/cure-lab/PnPInversion: ``mapping_file.json`` beside
``annotation_images/``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from noisespace.bench.cases import Case
from noisespace.bench.layouts import Entry, entry_of, inside
from noisespace.errors import InputError

SIDE = 512  # of the grid that masks are run-length encoded on
KINDS = {
    "0": "random",
    "1": "change object",
    "2": "add object",
    "3": "delete object",
    "4": "change content",
    "5": "change pose",
    "6": "change color",
    "7": "change material",
    "8": "change background",
    "9": "change style",
}


class Annotation(Entry):
    """One entry of ``mapping_file.json``; that of its TI2I images has no masks."""

    image_path: str
    original_prompt: str
    editing_prompt: str
    editing_instruction: str = ""
    editing_type_id: str = ""
    blended_word: str = ""
    mask: list[int] | None = None


def pie_cases(file: Path, entries: Any) -> list[Case]:
    """The cases of a mapping file, in its order.

    [Brackets] mark the edited words and are no part of a prompt. ``about`` has the instruction
    and, where the data set names them, the two words of ``blend``.
    """
    return [pie_case(file, str(key), value) for key, value in entries.items()]


def pie_case(file: Path, key: str, value: Any) -> Case:
    """One entry of a mapping file."""
    where = f"{file}: entry {key}"
    entry = entry_of(Annotation, value, where)
    if entry.editing_type_id not in ("", *KINDS):
        raise InputError(
            f"{where}: got editing_type_id {entry.editing_type_id!r}, expected one of "
            f"{', '.join(KINDS)}"
        )
    if entry.mask is not None:
        check_runs(entry.mask, where)
    words = entry.blended_word.split()
    return Case(
        id=key,
        image=inside(file.parent / "annotation_images", entry.image_path, where),
        source=plain(entry.original_prompt),
        target=plain(entry.editing_prompt),
        mask=None if entry.mask is None else partial(decode_mask, tuple(entry.mask)),
        kind=KINDS.get(entry.editing_type_id, ""),
        about={
            "data": "PIE-Bench",
            "instruction": entry.editing_instruction,
            "blend": (words[0], words[1]) if len(words) > 1 else None,
        },
    )


def plain(prompt: str) -> str:
    """A prompt without the brackets around its edited words, as PIE-Bench's own code has it."""
    return prompt.replace("[", "").replace("]", "")


def check_runs(runs: list[int], where: str) -> None:
    """Raises InputError for what is no list of start, length, start, length, ..."""
    fits = all(0 <= start < SIDE * SIDE for start in runs[::2]) and min(runs, default=0) >= 0
    if len(runs) % 2 or not fits:
        raise InputError(
            f"{where}: got a mask of {len(runs)} numbers, expected start, length, start, length "
            f"... within {SIDE} x {SIDE} positions"
        )


def decode_mask(runs: tuple[int, ...]) -> np.ndarray:
    """Runs over the flattened grid as a boolean mask (512, 512); the rim is always in it.

    That is ``mask_decode`` of evaluation/evaluate.py, which sets the outermost pixels "to avoid
    annotation errors in boundary".
    """
    mask = np.zeros(SIDE * SIDE, dtype=bool)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        mask[start : start + length] = True
    mask = mask.reshape(SIDE, SIDE)
    mask[[0, -1]] = True
    mask[:, [0, -1]] = True
    return mask
