"""The page in a real browser: a first visit, cancel, several people, errors, a phone, a reload."""

import json
import re

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
    unfold,
    unzipped,
)
from watched import file_of, picture

from noisespace.pictures.metadata import read_record
from noisespace.web.carrying import files_in, with_files

pytestmark = needed()


def test_a_first_visit_from_example_to_files(visit, tmp_path, monkeypatch):
    page = visit()
    begin(page, 6)  # which no other test asks for: it is not inverted yet
    edited(page, "Inverted in")
    expect(page.locator("#before-after img")).to_have_count(2)
    first = fetched(page, "image")
    number(page, "guidance", 4)
    edited(page, "Re-edited in")
    second = fetched(page, "image")
    assert (pixels(first) != pixels(second)).any()

    (tmp_path / "second.png").write_bytes(second)
    record = read_record(tmp_path / "second.png")
    assert record
    assert record["guidance"] == 4
    files = unzipped(page)
    assert set(files) == {
        "input.png", "edit-1.png", "records.json", "code.safetensors", "edit.sh", "edit.py",
    }  # fmt: skip
    carried = files_in(second)
    assert carried == {"input.png": files["input.png"]}
    assert second == with_files(files["edit-1.png"], carried)

    page.click("#undo")
    expect(number_of(page, "guidance")).not_to_have_value("4")
    assert fetched(page, "image") == first
    page.click("#redo")
    expect(number_of(page, "guidance")).to_have_value("4")

    page.get_by_label("The image carries its photo and mask").uncheck()
    page.reload()
    expect(number_of(page, "guidance")).to_have_value("4")
    expect(page.locator("#before-after img")).to_have_count(2)
    expect(page.get_by_label("The image carries its photo and mask")).not_to_be_checked()
    assert fetched(page, "image") == files["edit-1.png"]  # as wished, without the photo

    reproduces(files, tmp_path, monkeypatch)


def test_a_reload_keeps_what_was_not_edited_yet(visit):
    page = visit()
    begin(page)
    number(page, "guidance", 6.5)
    page.locator("#target textarea").fill("something else")
    unfold(page, "mask")
    draw(page, "painter", said(page, "painted"))
    page.reload()
    page.wait_for_function("window.noisespace === true")
    expect(page.locator("#photo img")).to_be_visible()
    expect(number_of(page, "guidance")).to_have_value("6.5")
    expect(number_of(page, "steps")).to_have_value(STEPS)
    expect(page.locator("#target textarea")).to_have_value("something else")
    unfold(page, "mask")
    expect(page.get_by_label("where I paint")).to_be_checked()
    expect(page.locator("#painter canvas").first).to_be_visible()
    edited(page, "dited in")
    expect(page.locator("#mask-used img")).to_be_visible()


def test_a_reload_keeps_a_newer_photo_than_the_latest_edits(visit):
    page = visit()
    begin(page)
    edited(page, "dited in")
    array = picture(7, (64, 64))
    paste(page, file_of(array))
    expect(page.locator("#photo img")).to_be_visible()
    unfold(page, "mask")
    draw(page, "painter", said(page, "painted"))
    page.reload()
    page.wait_for_function("window.noisespace === true")
    expect(page.locator("#photo img")).to_be_visible()
    edited(page, "Inverted in")
    files = unzipped(page)
    assert (pixels(files["input.png"]) == array).all()
    assert 0 < (pixels(files["mask.png"]) > 0).mean() < 0.5


def test_a_pasted_picture_is_the_photo(visit):
    page = visit()
    for seed in (1, 2):  # the second takes the first one's place
        array = picture(seed, (64, 64))
        paste(page, file_of(array))
        expect(page.locator("#photo img")).to_be_visible()
        page.locator("#source textarea").fill("a photo")
        page.locator("#target textarea").fill("a red photo")
        number(page, "steps", STEPS)
        page.wait_for_timeout(500)
        edited(page, "Inverted in")
        assert (pixels(unzipped(page)["input.png"]) == array).all()
        page.locator("#target textarea").fill("another target")


def test_a_slider_that_is_let_go_edits_again(visit):
    page = visit()
    begin(page)
    edited(page, "dited in")
    page.get_by_label("Edit again whenever a slider is let go").check()
    slider = page.locator("#guidance input[type=range]")
    slider.focus()
    for _ in range(4):
        page.keyboard.down("ArrowRight")  # held down: it is let go once
    page.keyboard.up("ArrowRight")
    expect(page.locator("#undo")).to_be_enabled()
    record = json.loads(unzipped(page)["records.json"])[0]
    assert record["guidance"] == float(number_of(page, "guidance").input_value())
    box = slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.3, box["y"] + box["height"] / 2)
    wanted = float(number_of(page, "guidance").input_value())
    assert wanted != record["guidance"]
    expect(page.locator("#past input")).to_have_value(re.compile(f"3\\. .*guidance {wanted:g}$"))


def test_a_slider_that_is_let_go_during_an_edit_is_not_lost(visit):
    page = visit()
    begin(page, 60)
    page.get_by_label("Edit again whenever a slider is let go").check()
    slider = page.locator("#guidance input[type=range]")
    slider.focus()
    for _ in range(2):  # the second while the first edit is under way
        page.keyboard.press("ArrowRight")
        expect(said(page)).to_contain_text(re.compile(r"step \d+ of \d+"))
    wanted = float(number_of(page, "guidance").input_value())
    expect(page.locator("#past input")).to_have_value(re.compile(f"2\\. .*guidance {wanted:g}$"))


def test_cancel_stops_within_a_step(visit):
    page = visit()
    begin(page, 100)
    number(page, "variants", 8)
    page.click("#run")
    expect(said(page)).to_contain_text(re.compile(r"(Inverting|Editing), step \d+ of \d+"))
    page.click("#cancel")
    # a step takes .1 s, the whole of it more than a minute
    expect(said(page)).to_contain_text("ancelled", timeout=15_000)
    expect(page.locator("#cancel")).to_be_disabled()
    number(page, "variants", 1)
    number(page, "steps", STEPS)
    edited(page, "dited in")  # the engine is free for the next job


def test_two_people_at_once_get_their_own(visit):
    pages = {"a dotted red cross": visit(), "a dotted black cross": visit()}
    for target, page in pages.items():
        begin(page, 20)
        page.locator("#target textarea").fill(target)
    for page in pages.values():
        page.click("#run")
    for target, page in pages.items():
        expect(said(page)).to_contain_text("dited in")
        expect(page.locator("#past input")).to_have_value(re.compile(target))
    made = {target: unzipped(page) for target, page in pages.items()}
    for target, files in made.items():
        assert json.loads(files["records.json"])[0]["picture"]["prompt"] == target
    one, other = (pixels(files["edit-1.png"]) for files in made.values())
    assert (one != other).any()


def test_two_tabs_of_one_browser_are_apart(visit):
    """Each has its own photo and edits, also after a reload; a closed one is found again."""
    first = visit(refusals=True)  # gradio complains of its stream, which a reload ends
    begin(first)
    edited(first, "dited in")
    second = opened_beside(first)
    expect(second.locator("#photo img")).to_have_count(0)
    paste(second, file_of(picture(1, (64, 64))))
    expect(second.locator("#photo img")).to_be_visible()
    number(first, "guidance", 5)
    edited(first, "Re-edited in")  # of its own photo
    first.locator("#target textarea").fill("of the first")
    second.locator("#target textarea").fill("of the second")
    for page, photos, edits, target in (
        (first, 1, 2, "of the first"),
        (second, 1, 0, "of the second"),
    ):
        page.reload()
        page.wait_for_function("window.noisespace === true")
        expect(page.locator("#photo img")).to_have_count(photos)
        expect(page.locator("#before-after img")).to_have_count(2 if edits else 0)
        expect(page.locator("#target textarea")).to_have_value(target)
    number(first, "guidance", 4.5)
    third = opened_beside(second)  # a session of its own, and nothing of theirs
    expect(third.locator("#photo img")).to_have_count(0)
    expect(third.locator("#target textarea")).to_have_value("")
    third.locator("#target textarea").fill("of the third")  # who acted last
    first.close()
    fourth = opened_beside(second)  # finds what was closed, though another one acted last
    expect(fourth.locator("#before-after img")).to_have_count(2)
    expect(fourth.locator("#target textarea")).to_have_value("of the first")
    expect(number_of(fourth, "guidance")).to_have_value("4.5")


def test_a_tab_writes_nothing_of_another(visit):
    """Two that write at once, each all of it, would lose what the other one has just written."""
    first = visit()
    second = opened_beside(first)
    for page in (first, second):
        page.evaluate("""() => {
          window.written = [];
          const set = Storage.prototype.setItem;
          Storage.prototype.setItem = function (name, value) {
            window.written.push(`${name}: ${value}`);
            set.call(this, name, value);
          };
        }""")
    names = []
    for page, text in ((first, "of the first"), (second, "of the second")):
        page.locator("#target textarea").fill(text)
        page.wait_for_function("text => window.written.some((one) => one.includes(text))", arg=text)
        kept = [one for one in page.evaluate("window.written") if "noisespace-visitor" in one]
        names.append({one.partition(":")[0] for one in kept})
    assert len(names[0]) == len(names[1]) == 1
    assert names[0] != names[1]


def test_tabs_are_apart_without_locks_too(visit):
    """Browsers have no locks where a page comes by plain HTTP from another machine."""
    context = visit(refusals=True).context
    context.add_init_script("Object.defineProperty(Navigator.prototype, 'locks', {value: null})")
    first, second = context.new_page(), context.new_page()
    for page in (first, second):
        arrive(page, context.pages[0].url)
        assert page.evaluate("navigator.locks") is None
        expect(page.locator("#photo img")).to_have_count(0)
        paste(page, file_of(picture(1, (64, 64))))
        expect(page.locator("#photo img")).to_be_visible()
        page.locator("#target textarea").fill(f"of page {page is first}")
    first.reload()
    first.wait_for_function("window.noisespace === true")
    expect(first.locator("#photo img")).to_be_visible()
    expect(first.locator("#target textarea")).to_have_value("of page True")


def opened_beside(page):
    """Another tab of the same browser."""
    other = page.context.new_page()
    arrive(other, page.url)
    return other


def arrive(page, url):
    page.goto(url)
    page.wait_for_function("window.noisespace === true")


def test_errors_are_sentences_on_the_page(visit, tmp_path):
    page = visit(refusals=True)
    page.locator("#target textarea").fill("a cat")
    edited(page, "Give a photo first")
    bad = tmp_path / "photo.png"
    bad.write_bytes(b"<svg onload='alert(1)'></svg>")
    with page.expect_response("**/upload_progress?*") as followed:
        drop(page, bad)
        expect(said(page)).to_contain_text("is not an image in a known format")
    assert followed.value.status == 404  # gradio's news of the upload, seconds later: no news here
    page.wait_for_timeout(200)
    expect(said(page)).to_contain_text("is not an image in a known format")
    bad.write_bytes(bytes(33 * 2**20))
    drop(page, bad)
    expect(said(page)).to_contain_text("photo.png has 33.0 MiB; a picture may have 32.0 MiB here")
    begin(page)
    unfold(page, "mask")
    page.wait_for_selector("#painter .board")  # the last of what a photo changes on the page
    page.locator("#method-spec textarea").fill("edit-friendly:skip=2.5")
    page.locator("#method-spec textarea").blur()
    edited(page, "skip")
    assert page.locator("#panel .error").count() == 1
    page.route("**/gradio_api/queue/join*", lambda route: route.abort())
    edited(page, "The server does not answer")


def test_a_phone_shows_all_of_it(visit):
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True, color_scheme="dark")
    begin(page)
    edited(page, "dited in")
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390
    for name in ("#run", "#cancel", "#guidance", "#before-after"):
        box = page.locator(name).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    for name in ("#photo", "#before-after", "#panel"):  # one below the other
        assert page.locator(name).bounding_box()["width"] > 280
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", dark)[:3])) < 200


def test_every_control_has_a_name_and_the_keyboard_suffices(visit):
    page = visit()
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('input, textarea, button, select')].filter(e => {
          if (e.type === 'hidden' || e.type === 'file' || !e.offsetParent) return false;
          const label = e.labels?.[0]?.innerText || e.getAttribute('aria-label') || e.title ||
            e.innerText || e.placeholder || document.getElementById(
              e.getAttribute('aria-labelledby') || '')?.innerText;
          return !label?.trim();
        }).map(e => e.outerHTML.slice(0, 200))"""
    )
    assert nameless == []
    begin(page)
    page.locator("#target textarea").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "run"
    page.keyboard.press("Enter")
    expect(said(page)).to_contain_text("dited in")
