"""Data sets of edits, recognised by what is in a folder or a file."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from noisespace.bench.cases import Case, checked
from noisespace.bench.coco import coco_cases
from noisespace.bench.layouts import read_json
from noisespace.bench.lists import tedbench_cases, ti2i_cases
from noisespace.bench.pie import pie_cases
from noisespace.bench.scenes import scene_cases
from noisespace.bench.tables import table_cases
from noisespace.errors import InputError

Captions = Literal["given", "own", "random"]
KNOWN = (
    '"scenes", PIE-Bench (mapping_file.json), ImageNet-R-TI2I (a .yaml), TEdBench '
    "(input_list.json), COCO captions (annotations/captions_*.json), or a table (.csv, .jsonl)"
)


def read_cases(
    data: str | Path, limit: int | None = None, seed: int = 0, captions: Captions = "given"
) -> list[Case]:
    """The cases of a data set: "scenes", or a folder or file in one of the known layouts.

    ``limit``: so many of them, drawn by ``seed`` and in the data set's order; a larger limit has
    those of a smaller one. ``captions``: "given" as the data set has them; "own" reconstructs
    (target = source); "random" reconstructs under another case's source prompt, as null-text
    inversion's study does (arXiv 2211.09794, sec. 4).

    Raises InputError for a layout that is not known, and for missing images, masks and
    true edits of another size, unknown columns, an id that is there twice, and a data set without
    cases.
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise InputError(f"limit must be a whole number from 1 on, got {limit!r}")
    if captions not in ("given", "own", "random"):
        raise InputError(f"captions must be given, own or random, got {captions!r}")
    if str(data) == "scenes":
        cases = scene_cases(limit, seed)
    else:
        cases = checked(read_layout(Path(data)), str(data))
    chosen = drawn(cases, limit, seed)
    if captions != "given":
        texts = [case.source for case in cases]
        chosen = [reconstructed(case, texts, seed, captions == "random") for case in chosen]
    for case in chosen:
        case.where()  # a mask of another size is told before any network runs,
        case.true_edit()  # and so is a true edit
    return chosen


def read_layout(path: Path) -> list[Case]:
    """The cases of a folder or file."""
    if not path.exists():
        raise InputError(f"{path}: there is no such folder or file; expected {KNOWN}")
    file = listing(path) if path.is_dir() else path
    suffix = file.suffix.lower()
    if suffix in (".csv", ".jsonl"):
        return table_cases(file)
    if suffix in (".yaml", ".yml"):
        return ti2i_cases(file)
    if suffix != ".json":
        raise InputError(f"{file}: is no data set that is known; expected {KNOWN}")
    return json_cases(file, read_json(file))


def listing(folder: Path) -> Path:
    """The file of a folder that lists its cases."""
    for name in ("mapping_file.json", "input_list.json"):
        if (folder / name).is_file():
            return folder / name
    for pattern in ("annotations/captions_*.json", "*.yaml", "*.yml", "*.csv", "*.jsonl"):
        found = sorted(folder.glob(pattern))
        if len(found) > 1:
            names = ", ".join(file.name for file in found[:4])
            raise InputError(f"{folder}: has several lists of cases ({names}); name one of them")
        if found:
            return found[0]
    raise InputError(f"{folder}: is no data set that is known; expected {KNOWN}")


def json_cases(file: Path, content: Any) -> list[Case]:
    """A JSON file's cases: its keys tell whose layout it is."""
    if isinstance(content, dict) and {"images", "annotations"} <= content.keys():
        return coco_cases(file, content)
    first: Any = None
    if isinstance(content, (dict, list)) and content:
        first = next(iter(content.values())) if isinstance(content, dict) else content[0]
    if isinstance(content, dict) and isinstance(first, dict) and "image_path" in first:
        return pie_cases(file, content)
    if isinstance(content, list) and isinstance(first, dict) and "img_name" in first:
        return tedbench_cases(file, content)
    if content in ({}, []):
        return []
    raise InputError(f"{file}: is no data set that is known; expected {KNOWN}")


def drawn(cases: Sequence[Case], limit: int | None, seed: int) -> list[Case]:
    """``limit`` of the cases by a seeded shuffle, in their own order."""
    numbers = list(range(len(cases)))
    if limit is not None and limit < len(cases):
        random.Random(f"limit {seed}").shuffle(numbers)
        numbers = sorted(numbers[:limit])
    return [cases[i] for i in numbers]


def reconstructed(case: Case, texts: Sequence[str], seed: int, mixed: bool) -> Case:
    """A case with its source as target; with ``mixed`` both are another case's source."""
    text, about = case.source, dict(case.about)
    if mixed:
        others = [other for other in texts if other != case.source]
        if not others:
            raise InputError(
                f"case {case.id}: there is no other caption to draw from; captions=random needs "
                "several images with source prompts"
            )
        text = random.Random(f"caption {seed} {case.id}").choice(others)
        about["caption"] = case.source
    changed = {"source": text, "target": text, "mask": None, "truth": None}
    return replace(case, kind="reconstruction", about=about, **changed)
