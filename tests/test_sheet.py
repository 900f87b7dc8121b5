"""Contact sheets: sizes, alignment, texts that do not fit, and what cannot be drawn."""

import numpy as np
import pytest
from PIL import Image, ImageFont

from noisespace.errors import InputError
from noisespace.pictures.sheet import GAP, MARGIN, Cell, _wrap, difference, sheet

RED = np.full((64, 64, 3), (200, 0, 0), np.uint8)


def pixels(page, colour=(200, 0, 0)):
    """The places of a colour: row and column indices."""
    return np.nonzero((np.asarray(page) == colour).all(axis=2))


def test_small_pictures_are_enlarged_by_whole_pixels():
    rows, columns = pixels(sheet([[Cell(RED, "red")]]))
    assert np.ptp(rows) + 1 == np.ptp(columns) + 1 == 192
    assert columns.min() == MARGIN
    rows, _ = pixels(sheet([[Cell(RED, "red")]], scale=1))
    assert np.ptp(rows) + 1 == 64


def test_large_pictures_are_reduced_and_long_ones_stay_on_the_page():
    wide = Image.new("RGB", (2000, 100), (200, 0, 0))
    page = sheet([[Cell(wide, "wide")]])
    _, columns = pixels(page)
    assert np.ptp(columns) + 1 == 384
    assert page.width == 384 + 2 * MARGIN


def test_columns_and_rows_are_aligned_whatever_the_texts():
    long = "a striped red circle left of a plain blue star on a green background " * 3
    page = sheet([[Cell(RED, long, long), Cell(RED, "b")], [Cell(RED, ""), Cell(None, "none")]])
    rows, columns = pixels(page)
    assert set(np.unique(columns)) == {MARGIN + i for i in range(192)} | {
        MARGIN + 192 + GAP + i for i in range(192)
    }
    assert len(np.unique(rows)) == 2 * 192  # two bands: texts of the first row push the second
    assert page.height > 2 * 192 + 2 * MARGIN


def test_a_grid_with_gaps_and_a_title_differs_only_where_it_should():
    plain, titled = (sheet([[Cell(RED, "x")]], title=t) for t in ("", "a title"))
    assert titled.height > plain.height
    assert len(pixels(titled)[0]) == len(pixels(plain)[0]) == 192 * 192


@pytest.mark.parametrize("text", ["σ = 0.3 → η", "日本語", "a\nb\x00c", "😀" * 50, "\udc80", ""])
def test_any_text_can_be_drawn(text):
    assert sheet([[Cell(RED, text, text)]], title=text).mode == "RGB"


def test_greek_is_drawn_not_boxed():
    sigma, eta = (np.asarray(sheet([[Cell(RED, text)]])) for text in ("σ", "η"))
    assert (sigma != eta).any()


def test_wrapping_keeps_within_the_width_and_says_what_was_cut():
    font = ImageFont.load_default(15)
    lines = _wrap("word " * 100 + "x" * 500, font, 192, 3)
    assert len(lines) == 3
    assert lines[-1].endswith("...")
    assert all(font.getlength(line) <= 192 for line in lines)
    assert "".join(_wrap("y" * 60, font, 192, 9)) == "y" * 60
    assert _wrap("  ", font, 192, 3) == []
    assert _wrap("two words", font, 192, 3) == ["two words"]


def test_the_same_sheet_gives_the_same_pixels():
    a, b = (sheet([[Cell(RED, "a", "b")]], title="t").tobytes() for _ in range(2))
    assert a == b


def test_difference_is_absolute_amplified_and_clipped():
    a = np.array([[[0, 10, 200]]], np.uint8)
    b = np.array([[[3, 0, 0]]], np.uint8)
    assert difference(a, b).tolist() == [[[12, 40, 255]]]
    assert (difference(a, b) == difference(b, a)).all()
    assert difference(a, b, gain=1).tolist() == [[[3, 10, 200]]]
    assert not difference(a, a).any()


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="at least one"):
        sheet([])
    with pytest.raises(InputError, match="at least one"):
        sheet([[]])
    with pytest.raises(InputError, match="scale=0"):
        sheet([[Cell(RED, "x")]], scale=0)
    with pytest.raises(InputError, match="one shape"):
        difference(RED, RED[:32])
