"""The record in a PNG, and writing files whole or not at all."""

import errno
import json
import os
import time
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from noisespace.errors import InputError
from noisespace.pictures.images import load
from noisespace.pictures.metadata import MAX_RECORD, check_png, png_bytes, read_record, save_png
from noisespace.system import files
from noisespace.system.files import check_writable, write_bytes, write_json

IMAGE = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
RECORD = {
    "prompt": 'a "red" circle, ein blaues Größe 😀\n',
    "skip": 36,
    "eta": 0.3,
    "seeds": [1, 2],
}


def one_sentence(error, *words):
    text = str(error.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def leftovers(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_record_and_its_picture_come_back(tmp_path):
    path = tmp_path / "a.png"
    save_png(path, IMAGE, RECORD)
    assert read_record(path) == RECORD
    np.testing.assert_array_equal(load(path), IMAGE)
    assert leftovers(tmp_path) == ["a.png"]


def test_the_same_job_gives_the_same_bytes(tmp_path):
    once = png_bytes(IMAGE, RECORD)
    time.sleep(0.01)
    assert png_bytes(Image.fromarray(IMAGE), dict(reversed(RECORD.items()))) == once
    assert os.fspath(tmp_path).encode() not in once
    assert png_bytes(IMAGE, {**RECORD, "skip": 35}) != once


def test_nothing_of_the_input_is_carried_over(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "a private description"
    exif[0x8825] = {1: "N", 2: (52.0, 30.0, 0.0)}
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", "somebody")
    source = tmp_path / "in.png"
    Image.fromarray(IMAGE).save(
        source, exif=exif, icc_profile=b"some profile", pnginfo=texts, dpi=(300, 300)
    )
    with Image.open(source) as picture:
        picture.load()
        assert png_bytes(picture, RECORD) == png_bytes(IMAGE, RECORD)


def test_masks_stay_grey():
    mask = Image.fromarray(IMAGE[..., 0])
    assert len(png_bytes(mask)) < len(png_bytes(IMAGE))


def test_no_record(tmp_path):
    save_png(tmp_path / "a.png", IMAGE)
    assert read_record(tmp_path / "a.png") is None


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, width=64, allow_infinity=False)
            | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        ),
    )
)
def test_any_json_object_comes_back(tmp_path_factory, record):
    path = tmp_path_factory.getbasetemp() / "record.png"
    save_png(path, IMAGE[:1, :1], record, force=True)
    assert read_record(path) == record


def test_records_that_are_no_json_are_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="JSON"):
        png_bytes(IMAGE, {"x": float("nan")})
    with pytest.raises(TypeError):
        png_bytes(IMAGE, {"x": object()})
    with pytest.raises(InputError, match="limit"):
        png_bytes(IMAGE, {"x": "y" * MAX_RECORD})


def foreign(path, text, compressed=False):
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("noisespace", text, zip=compressed)
    Image.fromarray(IMAGE).save(path, pnginfo=chunks)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "__import__('os').system('x')",
        "{'a': 1}",
        '{"a": NaN}',
        '{"a": -Infinity}',
        "[" * 100_000,
        "1" * 10_000,
        "[1]",
        '"text"',
        "null",
    ],
    ids=lambda text: text[:12] or "empty",
)
def test_a_strangers_record_is_parsed_not_trusted(tmp_path, text):
    path = foreign(tmp_path / "a.png", text)
    with pytest.raises(InputError) as error:
        read_record(path)
    one_sentence(error, "a.png", "record")


@pytest.mark.parametrize("size", [MAX_RECORD + 1, 50 * MAX_RECORD])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_record_that_is_too_long(tmp_path, size, compressed):
    path = foreign(tmp_path / "a.png", '{"a":"' + "b" * size + '"}', compressed)
    with pytest.raises(InputError) as error:
        read_record(path)
    one_sentence(error, "a.png")


def test_files_that_hold_no_record(tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / "a.jpg")
    (tmp_path / "t.png").write_text("no picture")
    (tmp_path / "c.png").write_bytes(png_bytes(IMAGE, RECORD)[:40])
    for name in ("a.jpg", "t.png", "c.png", "missing.png"):
        with pytest.raises(InputError) as error:
            read_record(tmp_path / name)
        one_sentence(error, name)


def test_the_pixels_are_not_decoded(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    save_png(path, IMAGE, RECORD)
    monkeypatch.setattr(zlib, "decompress", lambda *a: pytest.fail("decoded"))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    assert read_record(path) == RECORD


# writing


def test_nothing_is_overwritten_without_force(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("precious")
    for write in (
        lambda: save_png(path, IMAGE),
        lambda: check_png(path),
        lambda: write_bytes(path, b"x"),
        lambda: write_json(path, {}),
    ):
        with pytest.raises(InputError) as error:
            write()
        one_sentence(error, "a.png", "--force")
        assert path.read_text() == "precious"
    save_png(path, IMAGE, force=True)
    assert load(path).shape == IMAGE.shape
    assert leftovers(tmp_path) == ["a.png"]


def test_other_endings_are_refused(tmp_path):
    for name in ("a.jpg", "a", "png"):
        with pytest.raises(InputError) as error:
            save_png(tmp_path / name, IMAGE)
        one_sentence(error, name, ".png")
    save_png(tmp_path / "A.PNG", IMAGE)
    assert leftovers(tmp_path) == ["A.PNG"]


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "file" / "a.png", tmp_path / "folder.png"):
        with pytest.raises(InputError) as error:
            check_png(path, force=True)
        one_sentence(error, path.name, "folder")


def test_an_unwritable_folder(tmp_path, monkeypatch):
    folder = tmp_path / "locked"
    folder.mkdir()

    def refused(dir):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(files.tempfile, "TemporaryFile", refused)
    with pytest.raises(InputError) as error:
        check_writable(folder / "a.png")
    one_sentence(error, "a.png", "writable")


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("existing", [False, True])
def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch, call, existing):
    path = tmp_path / "a.png"
    if existing:
        path.write_text("precious")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, call, full)
    with pytest.raises((InputError, RuntimeError)) as error:
        save_png(path, IMAGE, RECORD, force=True)
    one_sentence(error, "a.png", "No space left")
    assert leftovers(tmp_path) == (["a.png"] if existing else [])
    assert not existing or path.read_text() == "precious"


def test_json_is_sorted_readable_and_whole(tmp_path):
    write_json(tmp_path / "new" / "a.json", {"b": 1, "a": "ü"})
    text = (tmp_path / "new" / "a.json").read_text(encoding="utf-8")
    assert text == '{\n  "a": "ü",\n  "b": 1\n}\n'
    assert json.loads(text) == {"a": "ü", "b": 1}


def test_files_get_the_rights_of_a_plain_open(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write_bytes(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode
