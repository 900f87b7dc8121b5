"""COCO captions: images that are reconstructed under their own caption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from noisespace.bench.cases import Case
from noisespace.bench.layouts import Entry, entry_of, inside
from noisespace.errors import InputError


class Picture(Entry):
    """One of ``images``."""

    id: int
    file_name: str


class Caption(Entry):
    """One of ``annotations``."""

    id: int
    image_id: int
    caption: str


def coco_cases(file: Path, content: Any) -> list[Case]:
    """The captioned images of a ``captions_*.json``: target = source = the first caption.

    The layout of cocodataset.org: ``annotations/captions_val2017.json`` beside ``val2017/`` (or
    ``images/``, or ``images/val2017/``). The first caption is that of the lowest id.
    """
    pictures, told = content["images"], content["annotations"]
    if not isinstance(pictures, list) or not isinstance(told, list):
        raise InputError(f"{file}: images and annotations must be lists")
    first: dict[int, Caption] = {}
    for number, value in enumerate(told):
        caption = entry_of(Caption, value, f"{file}: annotation {number}")
        if caption.image_id not in first or caption.id < first[caption.image_id].id:
            first[caption.image_id] = caption
    folder = images_of(file)
    cases = []
    for number, value in enumerate(pictures):
        picture = entry_of(Picture, value, f"{file}: image {number}")
        if picture.id not in first:
            continue  # nobody said what it shows
        where = f"{file}: image {picture.id}"
        image = inside(folder, picture.file_name, where)
        text = " ".join(first[picture.id].caption.split())
        name, about = Path(picture.file_name).stem, {"data": "COCO"}
        cases.append(Case(name, image, text, text, kind="reconstruction", about=about))
    return cases


def images_of(file: Path) -> Path:
    """The folder of the images that a file of captions is about."""
    split = file.stem.removeprefix("captions_")
    home = file.parent.parent if file.parent.name == "annotations" else file.parent
    tried = [home / split, home / "images" / split, home / "images"]
    for folder in tried:
        if folder.is_dir():
            return folder
    names = ", ".join(str(folder) for folder in tried)
    raise InputError(f"{file}: its images are missing, expected them in one of {names}")
