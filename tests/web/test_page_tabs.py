"""The page in a real browser: the tabs Compare and Noise space."""

import re

from driving import (
    begin,
    draw,
    edited,
    expect,
    needed,
    number,
    number_of,
    paste,
    said,
    stroke,
    tab,
    unfold,
)
from watched import file_of, picture

pytestmark = needed()


def looked(page):
    """Looks at the noise of the photo; what the tab says."""
    tab(page, "Noise space")
    page.click("#look")
    told = said(page, "noise-panel")
    expect(told).to_contain_text("noise maps by EditFriendly")
    return told


def test_a_comparison_hands_its_settings_over(visit):
    page = visit()
    begin(page)
    tab(page, "Compare")
    page.locator("#skips input, #skips textarea").first.fill("0.2 0.5")
    page.locator("#guidances input, #guidances textarea").first.fill("1 3")
    page.click("#skip-guidance")
    told = said(page, "compare-panel")
    expect(told).to_contain_text("4 edits in")
    pictures = page.locator("#compare-grid img")
    expect(pictures).to_have_count(4)
    expect(page.locator("#compare-grid")).to_contain_text("edit-friendly:skip=0.5, w 3")
    pictures.nth(3).click()
    expect(told).to_contain_text("Taken over")
    tab(page, "Edit")
    expect(number_of(page, "guidance")).to_have_value("3")
    expect(page.locator("#method-spec textarea")).to_have_value("edit-friendly:skip=0.5")
    edited(page, "Re-edited in")  # it was inverted for the comparison


def test_methods_are_compared_and_one_is_taken(visit):
    page = visit()
    begin(page, 30)
    tab(page, "Compare")
    methods = page.locator("#compare-methods")
    for name in ("negative-prompt", "cycle-diffusion"):
        methods.get_by_label(name, exact=True).uncheck()
    page.locator("#compare-editors").get_by_label("prompt-to-prompt", exact=True).check()
    page.click("#compare")
    told = said(page, "compare-panel")
    expect(told).to_contain_text(re.compile(r"Comparing, picture \d of 4"))
    moved = page.locator("#compare-panel [role=progressbar]").get_attribute("aria-valuenow")
    assert 0 <= int(moved or -1) < 100
    expect(told).to_contain_text("4 edits in")
    expect(page.locator("#compare-table")).to_contain_text("prompt-to-prompt")
    pictures = page.locator("#compare-grid img")
    expect(pictures).to_have_count(4)
    pictures.nth(1).click()
    expect(told).to_contain_text("Taken over")
    tab(page, "Edit")
    expect(page.locator("#method-spec textarea")).to_have_value("ddim")
    unfold(page, "editor")
    expect(page.locator("#editor-spec textarea")).to_have_value("prompt-to-prompt")
    edited(page, "Re-edited in")


def test_the_noise_is_shown_shifted_and_coloured(visit):
    page = visit()
    begin(page)
    told = looked(page)
    for place in ("#variance img", "#noise-maps img"):
        expect(page.locator(place).first).to_be_visible()
    photo = page.locator("#shift-photo img")
    photo.scroll_into_view_if_needed()
    photo.click(position={"x": 20, "y": 20})
    expect(told).to_contain_text("now click where")
    box = photo.bounding_box()
    photo.click(position={"x": 20 + box["width"] / 4, "y": 20})
    expect(told).to_contain_text("pixels to the right and 0 down")
    moved = float(number_of(page, "dx").input_value())
    assert 12 <= moved <= 20  # a quarter of 64 pixels
    page.click("#shift")
    expect(told).to_contain_text("Done in")
    expect(page.locator("#operated img")).to_have_count(2)
    page.click("#keep-shift")
    expect(told).to_contain_text("Edits are of the shifted photo")
    draw(page, "colours", told)
    expect(told).to_contain_text("Colour covers")
    page.click("#colour")
    expect(told).to_contain_text("Done in")
    free = page.locator("#colours input[type=color]")
    free.evaluate("(one) => { one.value = '#00ff00'; one.click(); }")
    stroke(page, "colours", (0.2, 0.2))
    green = "c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
    green += " for (let k = 0; k < d.length; k += 4) if (d[k + 1] > 250 && d[k] < 5) return true; }"
    assert page.locator("#colours canvas").evaluate(green)
    page.click("#look")  # once more: the canvas is empty again, and takes paint
    expect(told).to_contain_text("noise maps by EditFriendly")
    page.wait_for_timeout(500)
    empty = "c => !c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v) => v)"
    assert page.locator("#colours canvas").evaluate(empty)
    draw(page, "colours", told)
    expect(told).to_contain_text("Colour covers")
    tab(page, "Edit")
    edited(page, "dited in")
    unfold(page, "again")
    command = page.locator("#as-cli textarea").input_value()
    assert f"--operation shift:dx={moved:.0f},dy=0" in command


def test_the_noise_of_another_photo_is_not_shown(visit):
    page = visit()
    begin(page)
    told = looked(page)
    tab(page, "Edit")
    paste(page, file_of(picture(3, (64, 64))))
    expect(page.locator("#photo img")).to_be_visible()
    tab(page, "Noise space")
    expect(told).to_contain_text("Takes the photo and the inversion")
    for place in ("#variance img", "#noise-maps img", "#shift-photo img", "#operated img"):
        expect(page.locator(place)).to_have_count(0)
    page.click("#look")
    expect(told).to_contain_text("noise maps by EditFriendly")
    draw(page, "colours", told)
    expect(told).to_contain_text("Colour covers")


def test_looking_at_noise_may_be_cancelled(visit):
    page = visit()
    begin(page, 100)
    number(page, "variants", 16)
    tab(page, "Noise space")
    page.click("#look")
    told = said(page, "noise-panel")
    expect(told).to_contain_text(re.compile(r"Inverting, step \d+ of \d+"))
    page.click("#noise-cancel")
    expect(told).to_contain_text("ancelled")
