"""Captioned folders: every format gives the same pictures, and what is wrong is said."""

import csv
import json
import os
import random
from dataclasses import replace
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from noisespace.errors import InputError
from noisespace.models.pipeline_folder import MAX_JSON
from noisespace.train.folder import read_folder
from noisespace.train.pixels import square
from noisespace.train.tables import records

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
        patch.setattr("noisespace.train.pixels.read_pixels", None)
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


def test_pixels_go_to_the_file_one_after_the_other(tmp_path, monkeypatch):
    """And what cannot be read leaves no gap, in memory or in the file."""
    folder, cache = write(tmp_path / "data", "jsonl"), tmp_path / "pixels.npy"
    (folder / "4.png").write_bytes(b"no picture")
    whole = read_folder(folder, 16)
    kept = read_folder(folder, 16, cache)
    assert isinstance(kept.pixels, np.memmap)
    assert (kept.pixels == whole.pixels).all()
    assert len(np.load(cache)) == COUNT - 1
    assert np.load(cache).tobytes() == whole.pixels.tobytes()

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match="No space left on device"):
            read_folder(folder, 16, tmp_path / "other.npy")
    assert not list(tmp_path.glob("*other*"))


def test_a_run_goes_on_with_what_it_began_with(tmp_path):
    folder, cache = write(tmp_path / "data", "jsonl"), tmp_path / "pixels.npy"
    first = read_folder(folder, 16, cache)
    os.utime(folder / "3.png", (0, 0))  # the same in another place, or fetched again
    again = read_folder(folder, 16, cache, begun=True)
    assert (again.pixels == first.pixels).all()
    table = (folder / "metadata.jsonl").read_text()
    (folder / "metadata.jsonl").write_text(table.replace("number 3", "number three"))
    with pytest.raises(InputError, match="not those that this run began with"):
        read_folder(folder, 16, cache, begun=True)
    (folder / "metadata.jsonl").write_text(table)
    assert read_folder(folder, 16, cache, begun=True).captions == first.captions
    Image.fromarray(255 - DRAWN[0]).save(folder / "0.png")
    with pytest.raises(InputError, match="not those that this run began with"):
        read_folder(folder, 16, cache, begun=True)
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_tables_of_other_programs(kind, tmp_path):
    """A byte order mark, lines that end in CRLF and are empty, a line separator in a string."""
    folder = write(tmp_path / "data", kind)
    table = folder / f"metadata.{kind}"
    text = table.read_text().replace("number 3", "number\u20283").replace("\r\n", "\n")
    text = text.replace("\n", "\r\n\r\n")
    table.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_folder(folder, 16).captions == tuple(TEXTS)


def test_names_of_files(tmp_path):
    """In folders, and by a link to anywhere, but never out of the folder by name."""
    folder = write(tmp_path / "data", "jsonl")
    (folder / "sub").mkdir()
    (folder / "1.png").rename(folder / "sub" / "a.png")
    (folder / "2.png").rename(tmp_path / "elsewhere.png")
    (folder / "2.png").symlink_to(tmp_path / "elsewhere.png")
    table = (folder / "metadata.jsonl").read_text()
    (folder / "metadata.jsonl").write_text(table.replace('"1.png"', '"sub/../sub/a.png"'))
    assert (read_folder(folder, 16).pixels[1:3] == images_of(DRAWN[1:3])).all()
    for name in ("sub/../../elsewhere.png", str(tmp_path / "elsewhere.png")):
        (folder / "metadata.jsonl").write_text(table.replace("1.png", name, 1))
        with pytest.raises(InputError, match="outside the folder"):
            read_folder(folder, 16)
    for name in ("\\u0000", "a" * 300):
        (folder / "metadata.jsonl").write_text(table.replace("2.png", name, 1))
        if len(name) < 300:
            with pytest.raises(InputError, match="no file_name"):
                read_folder(folder, 16)
        else:
            assert len(read_folder(folder, 16).captions) == COUNT - 2


def images_of(arrays):
    return np.stack([square(array, 16) for array in arrays])


def test_an_image_of_several_captions_is_in_one_split(tmp_path):
    folder = write(tmp_path / "data", "jsonl")
    rows = [json.loads(x) for x in (folder / "metadata.jsonl").read_text().splitlines()]
    free = [{k: v for k, v in row.items() if k != "split"} for row in rows for _ in range(3)]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, free)))
    seen = read_folder(folder, 16)
    assert len(seen.captions) == 3 * COUNT
    assert all(len(set(seen.kept[i : i + 3])) == 1 for i in range(0, 3 * COUNT, 3))
    assert sum(seen.kept) == 3 * COUNT // 2  # of few images more than one in twenty are kept
    (folder / "metadata.jsonl").write_text(
        "\n".join(map(json.dumps, [*rows, {**rows[0], "split": "val"}]))
    )
    with pytest.raises(InputError, match="row 41 and one before it have the same image"):
        read_folder(folder, 16)


def test_one_in_twenty_is_kept_of_many():
    rows = [{"text": "a"} for _ in range(640)]
    found = records("data", rows, rows, list(range(640)))
    assert [i for i, record in enumerate(found) if record.unseen] == list(range(19, 640, 20))


def test_captions_fit_into_their_file(tmp_path):
    seen = read_folder(write(tmp_path / "data", "jsonl"), 16)
    long = replace(seen, captions=tuple(f"{i} {'é' * 20_000}" for i in range(COUNT)))
    assert 0 < len(long.patterns()) < 20
    assert len(json.dumps({"patterns": long.patterns()}, indent=0)) < MAX_JSON
    assert seen.patterns() == list(seen.vocabulary())


def test_a_size_that_fits_is_proposed(tmp_path):
    folder = write(tmp_path / "data", "jsonl")
    for i, array in enumerate(DRAWN):
        Image.fromarray(array).resize((40, 44)).save(folder / f"{i}.png")
    with pytest.raises(InputError, match=r"about 40 pixels a side.*use --set size=32,"):
        read_folder(folder, 64)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"captions.json": b"3"}, "got int"),
        ({"captions.json": b'["a"]'}, "got 1 in a list"),
        ({"captions.json": b"["}, "damaged"),
        ({"captions.json": '["é"]'.encode("latin-1")}, "not in UTF-8"),
        ({"images.npz": b""}, "damaged"),
        ({"images.npz": b"PK\x03\x04cut"}, "damaged"),
        ({"images.npz": b"\x93NUMPY\x01\x00"}, "damaged"),
        ({"metadata.csv": "file_name,text\na.png,é\n".encode("latin-1")}, "not in UTF-8"),
        ({"metadata.csv": b"file_name,text\na.png,a cat, a dog\n"}, "row 1 has more fields"),
        ({"metadata.csv": b"file_name,text\na.png," + b"a" * 200_000}, "no CSV file"),
        ({"metadata.jsonl": b"\xff\xfe"}, "not in UTF-8"),
        ({"metadata.jsonl": b"[" * 100_000}, "line 1 is no JSON object"),
        ({"metadata.jsonl": b'{"file_name": "a", "text": 5}'}, "row 1 of its captions has no text"),
        (
            {"metadata.jsonl": b'{"file_name": "a", "text": "b", "split": "vall"}'},
            "has split 'vall', expected train, val or test",
        ),
    ],
)
def test_damaged_tables_are_one_sentence(files, words, tmp_path):
    folder = write(tmp_path / "data", "npz")
    for name, data in files.items():
        (folder / name).write_bytes(data)
    with pytest.raises(InputError, match=words):
        read_folder(folder, 16)


def test_archives_of_other_arrays_are_refused(tmp_path):
    folder = write(tmp_path / "data", "npz")
    for arrays in (
        {"images": DRAWN[0]},
        {"data": np.zeros((4, 4), np.uint8), "offsets": np.arange(COUNT + 1)},
        {"data": np.zeros(4), "offsets": np.arange(COUNT + 1)},
        {"pictures": DRAWN},
    ):
        np.savez(folder / "images.npz", **arrays)
        with pytest.raises(InputError, match=r"images\.npz: has .* expected images"):
            read_folder(folder, 16)


def test_packed_files_are_opened_as_pictures_alone(tmp_path, capsys):
    """PostScript is run by a program of its own; a bomb is one of the images that are skipped."""
    folder = write(tmp_path / "data", "packed")
    with np.load(folder / "images.npz") as file:
        data, ends = file["data"].tobytes(), file["offsets"].tolist()
    parts = [data[a:b] for a, b in pairwise(ends)]
    parts[0] = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    parts[2] = parts[2][:16] + (60_000).to_bytes(4, "big") * 2 + parts[2][24:]
    ends = np.cumsum([0, *map(len, parts)])
    np.savez(folder / "images.npz", data=np.frombuffer(b"".join(parts), np.uint8), offsets=ends)
    found = read_folder(folder, 16)
    assert found.captions == (TEXTS[1], *TEXTS[3:])
    said = " ".join(capsys.readouterr().err.split())
    assert "2 of 40 images could not be read" in said
    assert "skipped: image 1: is not an image in a known format" in said
    assert "image 3" in said


def test_images_of_which_none_can_be_read_are_said_to_be_so(tmp_path):
    folder = write(tmp_path / "data", "jsonl")
    for path in folder.glob("*.png"):
        path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="none of its 40 images could be read"):
        read_folder(folder, 16)


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
