"""Captioned folders: every format gives the same pictures, and what is wrong is said."""

import csv
import json
import random
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from noisespace.errors import InputError
from noisespace.train.folder import read_folder

COUNT = 40
DRAWN = np.random.default_rng(0).integers(0, 256, (COUNT, 24, 20, 3), dtype=np.uint8)
TEXTS = [f"a picture of number {i % 7}" for i in range(COUNT)]
SPLITS = ["val" if i % 2 else "train" for i in range(COUNT)]


def files(folder):
    for i, array in enumerate(DRAWN):
        Image.fromarray(array).save(folder / f"{i}.png")
    return [
        {"file_name": f"{i}.png", "text": t, "split": s, "kind": str(i)}
        for i, (t, s) in enumerate(zip(TEXTS, SPLITS, strict=True))
    ]


def write(folder, kind):
    folder.mkdir(exist_ok=True)
    if kind == "jsonl":
        lines = "".join(json.dumps(row) + "\n" for row in files(folder))
        (folder / "metadata.jsonl").write_text(lines)
    elif kind == "csv":
        rows = files(folder)
        with (folder / "metadata.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, rows[0])
            table.writeheader()
            table.writerows(rows)
    else:
        told = [{"caption": t, "split": s} for t, s in zip(TEXTS, SPLITS, strict=True)]
        (folder / "captions.json").write_text(json.dumps(told))
        if kind == "npz":
            np.savez(folder / "images.npz", images=DRAWN)
        else:
            parts = []
            for array in DRAWN:
                buffer = BytesIO()
                Image.fromarray(array).save(buffer, "PNG")
                parts.append(buffer.getvalue())
            data = np.frombuffer(b"".join(parts), np.uint8)
            ends = np.cumsum([0, *map(len, parts)])
            np.savez(folder / "images.npz", data=data, offsets=ends)
    return folder


@pytest.mark.parametrize("kind", ["jsonl", "csv", "npz", "packed"])
def test_every_format_gives_the_same(kind, tmp_path):
    found = read_folder(write(tmp_path / kind, kind), 16)
    assert found.captions == tuple(TEXTS)
    assert found.numbers(unseen=True) == list(range(1, COUNT, 2))
    whole = Image.fromarray(DRAWN[3][2:22]).resize((16, 16), Image.Resampling.LANCZOS)
    assert np.abs(found.pixels[3].astype(int) - np.asarray(whole, int)).mean() < 12
    views = found.draw(random.Random(0), 50)
    assert {v.index % 2 for v in views} == {0}
    assert {v.index % 2 for v in found.draw(random.Random(0), 50, unseen=True)} == {1}
    x = found.pictures(views)
    assert x.shape == (50, 3, 16, 16)
    assert float(x.min()) >= -1
    assert float(x.max()) <= 1
    assert "number" in found.words()
    same = found.pictures(found.draw(random.Random(0), 50))
    assert (x == same).all()


def test_pixels_are_kept_until_the_folder_changes(tmp_path, monkeypatch):
    folder, cache = write(tmp_path / "data", "jsonl"), tmp_path / "pixels.npy"
    first = read_folder(folder, 16, cache)
    with monkeypatch.context() as patch:
        patch.setattr("noisespace.train.folder.read_pixels", None)
        again = read_folder(folder, 16, cache)
    assert (first.pixels == again.pixels).all()
    Image.fromarray(255 - DRAWN[0]).save(folder / "0.png")
    assert (read_folder(folder, 16, cache).pixels[0] != first.pixels[0]).any()


def test_what_cannot_be_read_is_skipped_and_counted(tmp_path, capsys):
    folder = write(tmp_path / "data", "jsonl")
    (folder / "4.png").write_bytes(b"no picture")
    found = read_folder(folder, 16)
    assert len(found.captions) == COUNT - 1
    assert found.captions[4] == TEXTS[5]
    assert "1 of 40 images could not be read" in capsys.readouterr().err


def test_what_is_wrong_is_said(tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        read_folder(tmp_path / "nowhere", 16)
    with pytest.raises(InputError, match="has no captions"):
        read_folder(tmp_path, 16)
    folder = write(tmp_path / "data", "jsonl")
    lines = (folder / "metadata.jsonl").read_text().splitlines()
    for line, words in (
        ("{", "line 1 is no JSON object"),
        ('{"file_name": "0.png"}', "row 1 of its captions has no text"),
        ('{"text": "a"}', "has no file_name"),
        ('{"file_name": "../0.png", "text": "a"}', "outside the folder"),
    ):
        (folder / "metadata.jsonl").write_text("\n".join([line, *lines[1:]]))
        with pytest.raises(InputError, match=words):
            read_folder(folder, 16)
    (folder / "metadata.jsonl").write_text("\n".join(lines[:20]))
    with pytest.raises(InputError, match="captioned images, expected"):
        read_folder(folder, 16)
    (folder / "metadata.jsonl").write_text(
        "\n".join(line.replace("val", "train") for line in lines)
    )
    with pytest.raises(InputError, match="0 readable validation images"):
        read_folder(folder, 16)


def test_captions_are_told_without_their_shared_opening_now_and_then(tmp_path):
    write(tmp_path, "jsonl")
    seen, rng = read_folder(tmp_path, 16), random.Random(0)
    (item,) = seen.draw(rng, 1)
    told = [seen.caption(item, rng) for _ in range(400)]
    whole = seen.captions[item.index]
    assert whole.startswith("a picture of number ")
    assert set(told) == {whole, whole.removeprefix("a picture of number ")}
    assert 0.05 < 1 - told.count(whole) / 400 < 0.16
