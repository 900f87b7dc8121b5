"""Tiny data sets in the public layouts, written into a folder."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

BIKE = {
    "image_path": "0_random_140/000000000000.jpg",
    "original_prompt": "a mountain bicycle on the road",
    "editing_prompt": "a [rusty] mountain bicycle on the road",
    "editing_instruction": "Make the frame of the bike rusty",
    "editing_type_id": "0",
    "blended_word": "bicycle bicycle",
    "mask": [512 * 10 + 20, 5, 512 * 511 + 500, 9000],
}
CAT = {
    "image_path": "1_change_object_80/1_artificial/1_animal/111000000000.jpg",
    "original_prompt": "a [cat] on grass",
    "editing_prompt": "a [dog] on grass",
    "editing_instruction": "cat to dog",
    "editing_type_id": "1",
    "blended_word": "",
    "mask": [],
}
YAML = """\
-
    init_img: /ImageNetR-TI2I/panda/sketch_36.jpg
    target_prompts:
    - a photo of a panda
    - a sculpture of a panda\x20
-
    init_img: horse_mud.jpg
    source_prompt: a photo of a horse in the mud

    target_prompts:
    - a photo of a horse in the snow
"""


def picture(path: Path, size: tuple[int, int] = (8, 8), seed: int = 0) -> Path:
    """A random picture file of (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def pie(folder: Path, entries: dict | None = None, side: int = 512) -> Path:
    entries = {"000000000000": BIKE, "111000000000": CAT} if entries is None else entries
    for entry in entries.values():
        if ".." not in entry["image_path"]:
            path = folder / "annotation_images" / entry["image_path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (side, side), "grey").save(path)
    (folder / "mapping_file.json").write_text(json.dumps(entries))
    return folder


def ti2i(folder: Path, text: str = YAML) -> Path:
    picture(folder / "panda" / "sketch_36.jpg")
    picture(folder / "horse_mud.jpg")
    (folder / "imnetr-ti2i.yaml").write_text(text)
    return folder


def tedbench(folder: Path, entries: list | None = None) -> Path:
    given = [
        {"img_name": "bird.jpeg", "target_text": "A bird spreading wings."},
        {"img_name": "bird.png", "target_text": "A bird looking backwards."},
        {"img_name": "bird.jpeg", "target_text": "A bird eating a fish."},
    ]
    for name in ("bird.jpeg", "bird.png"):
        picture(folder / "originals" / name)
    (folder / "input_list.json").write_text(json.dumps(given if entries is None else entries))
    return folder


def coco(folder: Path) -> Path:
    names = {139: "000000000139.jpg", 285: "000000000285.jpg", 632: "000000000632.jpg"}
    for name in names.values():
        picture(folder / "val2017" / name)
    told = [(9, 139, "A second one."), (3, 139, "A room\n with a table."), (7, 285, "A bear.")]
    content = {
        "info": {"year": 2017},
        "images": [{"id": i, "file_name": name, "height": 8} for i, name in names.items()],
        "annotations": [{"id": i, "image_id": j, "caption": text} for i, j, text in told],
    }
    (folder / "annotations").mkdir()
    (folder / "annotations" / "captions_val2017.json").write_text(json.dumps(content))
    return folder


def table(folder: Path, rows: list[dict] | None = None, name: str = "cases.csv") -> Path:
    """A table with pictures a.png and b.png (8 x 6) and the mask m.png, its left half white."""
    for number, image in enumerate(("a.png", "b.png")):
        picture(folder / image, (8, 6), number)
    mask = np.zeros((6, 8), np.uint8)
    mask[:, :4] = 255
    Image.fromarray(mask).save(folder / "m.png")
    rows = [{"image": "a.png", "source": "a cat", "target": "a dog"}] if rows is None else rows
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        if name.endswith(".csv"):
            writer = csv.DictWriter(file, list(dict.fromkeys(k for row in rows for k in row)))
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return folder
