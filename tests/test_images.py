"""Pictures in: every kind that is accepted, every kind that is refused, sizes, tensors."""

import os
import struct
import sys
import zlib
from dataclasses import asdict
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from noisespace.errors import InputError, RunError
from noisespace.pictures.images import Fit, fit, load, to_images, to_tensor, unfit

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (12, 20, 3), dtype=np.uint8)


def saved(path, image, **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(path, **options)
    return path


def refused(image, *words, **options):
    """One sentence, on one line, with the words in it."""
    with pytest.raises(InputError) as caught:
        load(image, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    for word in words:
        assert word in text


# what is accepted


def test_path_string_picture_and_array_give_the_same(tmp_path):
    path = saved(tmp_path / "a.png", PHOTO)
    for image in (path, str(path), Image.fromarray(PHOTO), PHOTO):
        got = load(image)
        assert got.dtype == np.uint8
        np.testing.assert_array_equal(got, PHOTO)


def test_what_can_be_an_array_is_taken_and_not_shared():
    class Scene:
        def __array__(self, dtype=None, copy=None):
            return PHOTO

    got = load(Scene())
    got[:] = 0
    assert PHOTO.any()


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tiff", "a.webp", "a.jpg", "a.gif"])
def test_formats(tmp_path, name):
    grey = np.full((9, 7, 3), 77, np.uint8)
    options = {"lossless": True} if name == "a.webp" else {}
    got = load(saved(tmp_path / name, grey, **options))
    assert got.shape == (9, 7, 3)
    assert np.abs(got.astype(int) - 77).max() <= 1


def test_the_content_counts_not_the_name(tmp_path):
    saved(tmp_path / "a.jpg", PHOTO, format="PNG")
    np.testing.assert_array_equal(load(tmp_path / "a.jpg"), PHOTO)


@pytest.mark.parametrize(("tag", "turn"), [(3, 2), (6, 3), (8, 1)])
@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "object"])
def test_exif_orientation_is_honoured(tmp_path, tag, turn, kind):
    picture = Image.fromarray(np.kron(PHOTO[:2, :3], np.ones((16, 16, 1), np.uint8)))
    exif = Image.Exif()
    exif[0x0112] = tag
    exif[0x8825] = {1: "N", 2: (52.0, 30.0, 0.0)}  # GPS
    if kind == "object":
        picture.getexif()[0x0112] = tag
        got = load(picture)
        assert picture.getexif()[0x0112] == tag  # the caller's picture stays as it was
    else:
        quality = {} if kind == "png" else {"quality": 100}
        got = load(saved(tmp_path / f"a.{kind}", picture, exif=exif, **quality))
    expected = np.rot90(np.asarray(picture), turn)
    assert got.shape == expected.shape
    middle = (slice(8, None, 16), slice(8, None, 16))
    assert np.abs(got[middle].astype(int) - expected[middle]).max() < 40


def test_damaged_exif_does_not_spoil_the_picture(tmp_path):
    path = saved(tmp_path / "a.jpg", PHOTO, exif=b"Exif\x00\x00garbage that is no TIFF header")
    assert load(path).shape == PHOTO.shape


def test_transparency_is_laid_over_white(tmp_path):
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[..., 0] = 200
    rgba[0, :, 3], rgba[1, 0, 3], rgba[1, 1, 3] = 0, 255, 128
    got = load(saved(tmp_path / "a.png", rgba))
    assert got[0, 0].tolist() == [255, 255, 255]
    assert got[1, 0].tolist() == [200, 0, 0]
    np.testing.assert_allclose(got[1, 1], [227, 127, 127], atol=1)


def test_grey_and_palette_and_one_bit(tmp_path):
    level = np.arange(240, dtype=np.uint8).reshape(12, 20)
    grey = Image.fromarray(level)
    np.testing.assert_array_equal(load(saved(tmp_path / "l.png", grey))[..., 1], level)
    la = Image.merge("LA", (grey, Image.new("L", grey.size, 0)))
    assert (load(saved(tmp_path / "la.png", la)) == 255).all()
    palette = Image.new("P", (3, 2))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    got = load(saved(tmp_path / "p.png", palette))
    assert got[0, 0].tolist() == [255, 0, 0]
    assert got[0, 1].tolist() == [0, 0, 255]
    clear = load(saved(tmp_path / "pt.png", palette, transparency=0))
    assert clear[0, 0].tolist() == [255, 255, 255]
    assert (load(saved(tmp_path / "one.png", Image.new("1", (2, 2), 1))) == 255).all()


@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, name):
    level = np.array([[0, 128, 257, 32768, 65535]], np.uint16)
    got = load(saved(tmp_path / name, Image.fromarray(level)))
    assert got[0, :, 0].tolist() == [0, 0, 1, 128, 255]
    assert (got == got[..., :1]).all()


def test_sixteen_bit_colour(tmp_path):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    row = b"\x00" + struct.pack(">6H", 65535, 0, 32768, 256, 257, 65280)
    path = tmp_path / "a.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(row))
        + chunk(b"IEND", b"")
    )
    np.testing.assert_allclose(load(path), [[[255, 0, 128], [1, 1, 254]]], atol=1)


def test_cmyk(tmp_path):
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    for name in ("a.jpg", "a.tiff"):
        red = load(saved(tmp_path / name, cmyk))
        assert red.shape == (8, 8, 3)
        assert red[..., 0].min() > 240
        assert red[..., 1:].max() < 15


def test_a_phone_photo_with_a_second_picture_behind_it(tmp_path):
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    path = saved(tmp_path / "a.jpg", first, format="MPO", save_all=True, append_images=[second])
    assert load(path)[0, 0, 0] > 240


def test_one_pixel(tmp_path):
    got = load(saved(tmp_path / "a.png", np.full((1, 1, 3), 9, np.uint8)))
    assert got.tolist() == [[[9, 9, 9]]]
    big, done = fit(got, target=64)
    assert big.shape == (64, 64, 3)
    assert unfit(big, done).tolist() == got.tolist()


# what is refused, each in one sentence


def test_missing_folder_empty_text_and_names(tmp_path):
    refused(tmp_path / "no.png", "no.png", "no such file")
    refused(tmp_path, str(tmp_path), "folder")
    (tmp_path / "e.png").write_bytes(b"")
    refused(tmp_path / "e.png", "e.png", "empty")
    (tmp_path / "t.png").write_text("this is no picture at all")
    refused(tmp_path / "t.png", "t.png", "not an image", "PNG")
    refused("a\x00b.png", "b.png")
    refused("x" * 300, "cannot be read")


def test_unreadable(tmp_path):
    path = saved(tmp_path / "a.png", PHOTO)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user can read everything")
    refused(path, "a.png", "ermission")


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes in the file system there")
def test_a_pipe_would_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "pipe.png", "regular file")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tiff", "a.bmp", "a.gif"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_truncated(tmp_path, name, share):
    whole = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path / name, whole)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refused(path, name)


def test_formats_outside_the_list(tmp_path):
    refused(saved(tmp_path / "a.ppm", PHOTO), "a.ppm", "known format")
    (tmp_path / "a.png").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    refused(tmp_path / "a.png", "known format")
    refused(saved(tmp_path / "a.eps", PHOTO), "known format")


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tiff"])
def test_animated(tmp_path, name):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    path = saved(tmp_path / name, frames[0], save_all=True, append_images=frames[1:])
    refused(path, name, "3 frames")
    with Image.open(path) as picture:
        refused(picture, "3 frames")


def test_too_many_bytes(tmp_path):
    path = saved(tmp_path / "a.bmp", PHOTO)
    refused(path, "a.bmp", "MiB", max_bytes=path.stat().st_size - 1)
    assert load(path, max_bytes=path.stat().st_size).shape == PHOTO.shape
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(2**33)  # sparse: no 8 GiB are written, and none are read
    refused(tmp_path / "huge.png", "huge.png", "64 MiB")


@pytest.mark.parametrize("side", [8001, 12000, 60000])
def test_too_many_pixels_are_refused_before_decoding(tmp_path, monkeypatch, side):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000)))
    (tmp_path / "bomb.png").write_bytes(bomb + chunk(b"IEND", b""))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    refused(tmp_path / "bomb.png", "bomb.png", "64000000 pixels")


def test_pixel_cap_for_pictures_and_arrays():
    refused(Image.new("1", (20, 20)), "399 pixels", max_pixels=399)
    refused(PHOTO, "20 x 12", max_pixels=239)
    assert load(PHOTO, max_pixels=240).shape == PHOTO.shape


@pytest.mark.parametrize(
    "array",
    [
        PHOTO.astype(np.float32) / 255,
        PHOTO.astype(np.int64),
        PHOTO[..., 0],
        PHOTO.transpose(2, 0, 1),
        PHOTO[None],
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        torch.zeros(1, 3, 8, 8),
    ],
    ids=lambda a: f"{a.dtype} {tuple(a.shape)}",
)
def test_arrays_of_another_kind(array):
    refused(array, "got", "expected uint8 (height, width, 3)")


@pytest.mark.parametrize("thing", [None, 3, [1, 2], b"png", object()])
def test_things_that_are_no_image(thing):
    refused(thing, type(thing).__name__, "expected a path")


def test_floating_point_pictures_and_closed_ones(tmp_path):
    refused(saved(tmp_path / "f.tiff", Image.new("F", (4, 4))), "f.tiff", "32 bits")
    refused(saved(tmp_path / "i.tiff", Image.new("I", (4, 4))), "i.tiff", "32 bits")
    refused(Image.new("RGB", (0, 4)), "at least one pixel")
    with Image.open(saved(tmp_path / "a.png", PHOTO)) as picture:
        pass
    refused(picture, "the image")


SEEDS = []
for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"):
    buffer = BytesIO()
    Image.fromarray(PHOTO).save(buffer, kind)
    SEEDS.append(buffer.getvalue())


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SEEDS), st.data())
def test_any_damage_gives_a_picture_or_one_sentence(tmp_path_factory, seed, data):
    damaged = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(seed) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(bytes(damaged))
    try:
        got = load(path, max_pixels=10**6)
    except InputError as error:
        got, text = None, str(error)
    if got is None:
        assert "\n" not in text
    else:
        assert got.dtype == np.uint8
        assert got.shape[2:] == (3,)


# sizes


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 150),
    st.integers(1, 150),
    st.sampled_from([8, 64, 72, 128]),
    st.sampled_from([1, 4, 8, 32]),
)
def test_fit_keeps_the_aspect_and_unfit_the_size(height, width, target, multiple):
    array = np.full((height, width, 3), 120, np.uint8)
    if max(height, width) > 16 * min(height, width):
        with pytest.raises(InputError, match="16:1"):
            fit(array, target=target, multiple=multiple)
        return
    fitted, done = fit(array, target=target, multiple=multiple)
    assert fitted.shape == (*done.size, 3)
    assert all(side % multiple == 0 and side > 0 for side in done.size)
    assert abs(min(done.size) - target) <= multiple / 2 or min(done.size) == multiple
    long, short = max(height, width), min(height, width)
    assert abs(max(done.size) - target * long / short) <= max(multiple, abs(target - multiple))
    assert (height <= width) == (done.size[0] <= done.size[1]) or done.size[0] == done.size[1]
    assert (fitted == 120).all()
    assert unfit(fitted, done).shape == array.shape
    assert done.resized == (done.size != (height, width))
    assert Fit(**asdict(done)) == done


def test_what_fits_is_left_as_it_is():
    array = RNG.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    fitted, done = fit(array)
    np.testing.assert_array_equal(fitted, array)
    assert fitted is not array
    assert not done.resized
    np.testing.assert_array_equal(unfit(fitted, done), array)


def test_smooth_pictures_come_back_nearly_the_same():
    y, x = np.mgrid[:100, :150]
    array = np.stack([y * 2, x, 255 - y - x], axis=-1).clip(0, 255).astype(np.uint8)
    fitted, done = fit(array, target=64)
    assert done.size == (64, 96)
    assert np.abs(unfit(fitted, done).astype(int) - array).mean() < 1.5


def test_shrinking_averages_instead_of_dropping_pixels():
    board = np.indices((256, 256)).sum(axis=0) % 2 * 255
    fitted, _ = fit(np.repeat(board[:, :, None], 3, axis=2).astype(np.uint8), target=64)
    assert np.abs(fitted.astype(int) - 127).max() < 12


def test_size_overrides():
    assert fit(PHOTO, 96)[0].shape == (96, 160, 3)  # an int is the shorter side
    assert fit(PHOTO, (64, 32))[0].shape == (64, 32, 3)
    assert fit(PHOTO[:1], (8, 160))[1].original == (1, 20)  # given, so any ratio is meant


@pytest.mark.parametrize("size", [0, -8, 65, True, 64.0, "64", (64,), (64, 65), (64, 0), (8, 8, 8)])
def test_sizes_that_do_not_work(size):
    with pytest.raises(InputError, match="size"):
        fit(PHOTO, size)
    with pytest.raises(InputError, match="such as 64"):
        fit(PHOTO, 65)


def test_a_size_that_would_fill_the_memory_is_refused():
    with pytest.raises(InputError, match="limit"):
        fit(PHOTO, 800000)
    with pytest.raises(InputError, match="limit"):
        Fit((100000, 100000), (64, 64))
    with pytest.raises(InputError, match="two sizes"):
        Fit((0, 1), (64, 64))
    with pytest.raises(InputError, match="two sizes"):
        Fit((4, 4, 4), (64, 64))
    assert Fit([12, 20], [64, 64]) == Fit((12, 20), (64, 64))


# tensors


def test_every_level_goes_through_a_tensor_and_back():
    levels = np.arange(256, dtype=np.uint8)
    array = np.stack([levels, levels[::-1], levels], axis=-1).reshape(16, 16, 3)
    tensor = to_tensor(array)
    assert tensor.shape == (1, 3, 16, 16)
    assert tensor.dtype == torch.float32
    assert (tensor.min().item(), tensor.max().item()) == (-1, 1)
    (back,) = to_images(tensor)
    np.testing.assert_array_equal(back, array)
    assert back.flags.c_contiguous
    np.testing.assert_array_equal(to_images(tensor.double())[0], array)


def test_batches_and_clipping():
    tensor = torch.stack([torch.full((3, 4, 5), value) for value in (-7.0, 0.0, 7.0)])
    assert [int(image[0, 0, 0]) for image in to_images(tensor)] == [0, 128, 255]
    assert to_images(tensor.bfloat16())[2].shape == (4, 5, 3)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_said(bad):
    tensor = torch.zeros(1, 3, 4, 4)
    tensor[0, 0, 1, 1] = bad
    with pytest.raises(RunError, match="not finite"):
        to_images(tensor)
