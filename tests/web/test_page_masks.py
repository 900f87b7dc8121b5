"""The page in a real browser: masks by hand and found, words, results that restore all."""

import numpy as np
import pytest
from driving import (
    STEPS,
    begin,
    draw,
    drop,
    edited,
    expect,
    fetched,
    needed,
    number,
    number_of,
    paste,
    pixels,
    reproduces,
    said,
    share,
    stroke,
    tab,
    unfold,
    unzipped,
)
from watched import file_of, picture

from noisespace.web.carrying import files_in

pytestmark = needed()


def test_a_painted_mask_keeps_the_rest(visit):
    page = visit()
    begin(page)
    unfold(page, "mask")
    draw(page, "painter", said(page, "painted"))
    expect(page.get_by_label("where I paint")).to_be_checked()
    edited(page, "dited in")
    expect(page.locator("#mask-used img")).to_be_visible()
    files = unzipped(page)
    mask = pixels(files["mask.png"])[..., 0]
    picture, photo = pixels(files["edit-1.png"]), pixels(files["input.png"])
    assert 0 < (mask > 0).mean() < 0.5
    ys, xs = np.nonzero(mask)
    near = np.zeros_like(mask, bool)
    near[max(0, ys.min() - 8) : ys.max() + 9, max(0, xs.min() - 8) : xs.max() + 9] = True
    apart = np.abs(picture - photo).mean(-1)
    assert apart[~near].mean() < 6  # the autoencoder's error
    assert apart[mask > 0].mean() > 2 * apart[~near].mean()


def test_every_stroke_counts_at_once(visit):
    """Also those that come while one before them is on its way; undo, erasing and clearing too."""
    page = visit()
    begin(page)
    unfold(page, "mask")
    told = said(page, "painted")
    places = [(0.2, 0.3), (0.6, 0.3), (0.2, 0.7), (0.6, 0.7)]
    page.wait_for_selector("#painter canvas")
    one = 0.0
    for count, place in enumerate(places[:2], 1):
        stroke(page, "painter", place)
        expect(told).to_contain_text("The mask covers")
        one = one or share(told)
        shares(page, told, count * one)  # no stroke late
    for place in places[2:]:
        stroke(page, "painter", place)
    shares(page, told, 4 * one)
    board = page.get_by_role("group", name="Orange: the edit may act there")
    board.get_by_role("button", name="Undo").click()
    shares(page, told, 3 * one)
    for ink in ("Erase", "Blue"):  # there is nothing below that blue could take away
        board.get_by_role("button", name=ink).click()
        stroke(page, "painter", places[0])
        shares(page, told, 2 * one)
        board.get_by_role("button", name="Undo").click()
        shares(page, told, 3 * one)
    board.get_by_role("button", name="Clear").click()
    expect(told).to_have_text("Nothing is painted.")
    board.get_by_role("button", name="Undo").click()
    shares(page, told, 3 * one)


def test_a_finger_paints_on_a_phone(visit):
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    begin(page)
    unfold(page, "mask")
    canvas = page.locator("#painter canvas")
    canvas.scroll_into_view_if_needed()
    told = said(page, "painted")
    canvas.tap()
    expect(told).to_contain_text("The mask covers")
    dot = share(told)
    assert 0 < dot < 0.02
    box, at = canvas.bounding_box(), page.evaluate("window.scrollY")
    fingers = page.context.new_cdp_session(page)
    for kind, y in (("touchStart", 0.3), ("touchMove", 0.5), ("touchMove", 0.8), ("touchEnd", 0)):
        point = {"x": box["x"] + box["width"] * 0.3, "y": box["y"] + box["height"] * y}
        points = [] if kind == "touchEnd" else [point]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    for _ in range(100):
        if share(told) > 3 * dot:
            break
        page.wait_for_timeout(100)
    assert share(told) > 3 * dot  # a line
    assert page.evaluate("window.scrollY") == at  # painted, not scrolled


def blank(page, editor="painter"):
    """Whether nothing is painted on a board, and nothing is there to be undone."""
    board = page.locator(f"#{editor}")
    painted = board.locator("canvas").evaluate(
        "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v) => v > 0)"
    )
    return not painted and board.get_by_role("button", name="Undo").is_disabled()


def test_a_board_that_is_drawn_anew_is_empty(visit):
    """For another photo of the same size, for a mask that was found; its ink stays."""
    page = visit()
    begin(page)
    unfold(page, "mask")
    told = said(page, "painted")
    page.wait_for_selector("#painter canvas")
    page.locator("#painter").get_by_role("button", name="Blue").click()
    page.locator("#painter").get_by_role("button", name="Orange").click()
    draw(page, "painter", told)
    one = share(told)
    assert not blank(page)
    paste(page, file_of(picture(3, (64, 64))))
    expect(told).to_have_text("Nothing is painted.")
    assert blank(page)
    stroke(page, "painter", (0.2, 0.2))
    shares(page, told, one)  # and not two
    page.locator("#painter").get_by_role("button", name="Blue").click()
    page.locator("#target textarea").fill("another")
    page.locator("#source textarea").fill("a photo")
    page.click("#find-mask")
    expect(said(page)).to_contain_text("The mask covers")
    page.wait_for_timeout(500)
    assert blank(page)
    blue = page.locator("#painter").get_by_role("button", name="Blue")
    expect(blue).to_have_attribute("aria-pressed", "true")


def test_a_board_of_before_is_drawn_anew_and_says_so(visit):
    """Strokes of a board that the server knows no more (here: another number) never count."""
    page = visit()
    begin(page)
    unfold(page, "mask")
    told = said(page, "painted")
    draw(page, "painter", told)
    covered = share(told)
    page.evaluate("document.querySelector('#painter .board').dataset.number = 99")
    stroke(page, "painter", (0.2, 0.2))
    page.wait_for_function("document.querySelector('#painter .board').dataset.number !== '99'")
    assert blank(page)
    assert share(told) == covered  # what counted before lies below it
    stroke(page, "painter", (0.2, 0.7))
    shares(page, told, 2 * covered)


def shares(page, told, wanted):
    """Waits until the page says that so much is painted."""
    for _ in range(100):
        if "covers" in told.inner_text() and share(told) == pytest.approx(wanted, rel=0.2):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"{told.inner_text()} Not {wanted}")


def test_a_found_mask_is_mended_by_paint(visit):
    page = visit()
    begin(page)
    unfold(page, "mask")
    page.click("#find-mask")
    expect(said(page)).to_contain_text("The mask covers")
    expect(page.get_by_label("where I paint")).to_be_checked()
    told = said(page, "painted")
    expect(told).to_contain_text("The mask covers")
    found = share(told)
    draw(page, "painter", told, (0.68, 0.75))
    assert share(told) > found  # orange adds
    edited(page, "dited in")
    expect(page.locator("#mask-used img")).to_be_visible()
    mask = pixels(unzipped(page)["mask.png"])[..., 0] > 0
    assert abs(mask.mean() - share(told)) < 0.001
    assert mask[40:, 40:].any()  # where the stroke is, and the cross is not


def test_a_word_shows_where_it_looks(visit):
    page = visit()
    begin(page)
    unfold(page, "looking")
    words = page.locator("#words")
    words.get_by_label("cross", exact=True).check()
    expect(page.locator("#attention img")).to_be_visible()
    before = page.locator("#attention img").get_attribute("src")
    page.keyboard.press("Tab")  # the next word, without a mouse
    page.keyboard.press("Space")
    expect(words.get_by_label("on", exact=True)).to_be_checked()
    expect(page.locator("#attention img")).not_to_have_attribute("src", before or "")


def test_a_dropped_result_restores_all_settings(visit, tmp_path):
    page = visit()
    begin(page)
    number(page, "guidance", 3.3)
    number(page, "seed", 7)
    number(page, "variants", 2)
    number(page, "method-edit-friendly-skip", 0.2)
    expect(page.locator("#method-spec textarea")).to_have_value("edit-friendly:skip=0.2")
    edited(page, "dited in")
    result, bare, packed = (tmp_path / f"{name}.png" for name in ("result", "bare", "photo"))
    result.write_bytes(fetched(page, "image"))
    files = unzipped(page)
    bare.write_bytes(files["edit-1.png"])
    packed.write_bytes(files["input.png"])
    target = page.locator("#target textarea").input_value()

    for dropped in (bare, result):
        other = visit()
        drop(other, dropped)
        expect(said(other)).to_contain_text("All settings of this result are restored")
        expect(other.locator("#target textarea")).to_have_value(target)
        for name, value in {
            "guidance": "3.3", "seed": "7", "variants": "2", "steps": STEPS,
            "method-edit-friendly-skip": "0.2",
        }.items():  # fmt: skip
            expect(number_of(other, name)).to_have_value(value)
        if dropped == bare:
            expect(said(other)).to_contain_text("drop the original")
            drop(other, packed)
        other.wait_for_selector("#photo img")
        edited(other, "edited in")
        assert fetched(other, "image") == result.read_bytes()


def test_colour_and_mask_travel_with_the_result(visit, tmp_path, monkeypatch):
    page = visit()
    begin(page)
    unfold(page, "mask")
    draw(page, "painter", said(page, "painted"))
    tab(page, "Noise space")
    page.click("#look")
    told = said(page, "noise-panel")
    expect(told).to_contain_text("noise maps by EditFriendly")
    draw(page, "colours", told)
    expect(told).to_contain_text("Colour covers")
    page.click("#keep-colour")
    expect(told).to_contain_text("Edits are of the coloured photo")
    tab(page, "Edit")
    edited(page, "dited in")
    files = unzipped(page)
    name = next(name for name in files if name.startswith("paint-"))
    assert {name, "mask.png"} < set(files)
    assert f"color-edit:strokes={name}" in files["edit.sh"].decode()
    result = tmp_path / "result.png"
    result.write_bytes(fetched(page, "image"))
    assert set(files_in(result.read_bytes())) == {"input.png", "mask.png", name}

    other = visit()
    drop(other, result)
    expect(said(other)).to_contain_text("All settings of this result are restored.")
    assert "Note" not in said(other).inner_text()
    expect(other.locator("#photo img")).to_be_visible()
    unfold(other, "operations-box")
    expect(other.locator("#operations textarea")).to_have_value(f"color-edit:strokes={name}")
    edited(other, "dited in")
    assert fetched(other, "image") == result.read_bytes()
    reproduces(files, tmp_path, monkeypatch)
