"""The page in a real browser: a first visit, masks, cancel, restoring, several people, a phone."""

import io
import re
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noisespace.metadata import read_record
from noisespace.models.loading import EMBEDDED

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("gradio", reason="gradio is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
    pytest.mark.skipif(
        not (EMBEDDED["scenes"] / "model_index.json").is_file(), reason="no embedded model yet"
    ),
    pytest.mark.xdist_group("page"),
]
PATIENCE = 60_000  # milliseconds; a machine may be loaded
STEPS = "5"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """``noisespace app`` as people start it, in a process of its own."""
    command = [sys.executable, "-m", "noisespace.cli", "app", "--port", "0", "--no-browser"]
    with (tmp_path_factory.mktemp("app") / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert server.stdout
        try:
            address = server.stdout.readline().split()[-1]
            assert address.startswith("http://127.0.0.1:")
            yield address
        finally:
            server.terminate()
            server.wait(60)
            server.stdout.close()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        playwright.expect.set_options(timeout=PATIENCE)
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser, url):
    """Opens the page as another visitor each time; what the browser complains of fails the test."""
    contexts, complaints = [], []

    def visitor(**options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("console", lambda m: m.type == "error" and complaints.append(m.text))
        page.on("response", lambda r: r.status >= 400 and complaints.append(f"{r.status} {r.url}"))
        page.on("request", lambda r: foreign(r.url) and complaints.append(f"fetched {r.url}"))
        page.goto(url)
        page.wait_for_selector("#run")
        page.wait_for_function("localStorage.getItem('noisespace')")  # it has answered
        return page

    def foreign(address):
        return not address.startswith((url, "data:", "blob:"))

    yield visitor
    for context in contexts:
        context.close()
    assert complaints == []


def number(page, name, value):
    """Types into a slider's or number's box."""
    box = page.locator(f"#{name} input[type=number]")
    box.fill(str(value))
    box.blur()


def begin(page, steps=STEPS):
    """Takes the first example."""
    page.get_by_text("→").first.click()
    playwright.expect(page.locator("#source textarea")).not_to_have_value("")
    page.wait_for_selector("#photo img")
    number(page, "steps", steps)


def said(page):
    return page.locator("#panel .says")


def edited(page, text):
    """Presses Edit and waits for the panel to say ``text``."""
    page.click("#run")
    playwright.expect(said(page)).to_contain_text(text, timeout=PATIENCE)


def unfold(page, name):
    """Opens an accordion that is closed."""
    page.locator(f"#{name} button.label-wrap").first.click()


def draw(page, canvas, place=(0.5, 0.5)):
    """A stroke on something to paint on, from a place within it."""
    time.sleep(2)  # it is drawn anew for a new picture
    canvas.scroll_into_view_if_needed()
    time.sleep(1)  # and grows to its place
    box = canvas.bounding_box()
    middle = box["x"] + box["width"] * place[0], box["y"] + box["height"] * place[1]
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 20, middle[1] + 10, steps=5)
    page.mouse.up()
    time.sleep(2)  # the paint is sent


def fetched(page, kind):
    with page.expect_download(timeout=PATIENCE) as download:
        page.click(f"#get-{kind}")
    return Path(download.value.path()).read_bytes()


def pixels(data):
    return np.array(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def test_a_first_visit_from_example_to_files(visit, tmp_path, monkeypatch):
    page = visit()
    begin(page, 6)  # which no other test asks for: it is not inverted yet
    edited(page, "Inverted in")
    playwright.expect(page.locator("#before-after img")).to_have_count(2)
    first = fetched(page, "image")
    number(page, "guidance", 4)
    edited(page, "Re-edited in")
    second = fetched(page, "image")
    assert (pixels(first) != pixels(second)).any()

    (tmp_path / "second.png").write_bytes(second)
    record = read_record(tmp_path / "second.png")
    assert record
    assert record["guidance"] == 4
    with zipfile.ZipFile(io.BytesIO(fetched(page, "zip"))) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    assert set(files) == {
        "input.png", "edit-1.png", "records.json", "code.safetensors", "edit.sh", "edit.py",
    }  # fmt: skip
    assert files["edit-1.png"] == second

    page.click("#undo")
    playwright.expect(page.locator("#guidance input[type=number]")).not_to_have_value("4")
    assert fetched(page, "image") == first
    page.click("#redo")
    playwright.expect(page.locator("#guidance input[type=number]")).to_have_value("4")

    page.reload()
    playwright.expect(page.locator("#guidance input[type=number]")).to_have_value("4")
    playwright.expect(page.locator("#before-after img")).to_have_count(2)
    assert fetched(page, "image") == second

    (tmp_path / "input.png").write_bytes(files["input.png"])
    reproduces(files["edit.sh"].decode(), files["edit.py"].decode(), second, tmp_path, monkeypatch)


def reproduces(command, python, picture, folder, monkeypatch):
    """The command writes the page's very file, and the Python its pixels."""
    from typer.testing import CliRunner

    from noisespace.cli.app import app

    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, shlex.split(command)[1:])
    assert done.exit_code == 0, done.output
    assert Path("edit.png").read_bytes() == picture
    exec(python, {})
    assert (pixels(Path("edit-1.png").read_bytes()) == pixels(picture)).all()


def test_a_painted_mask_keeps_the_rest(visit):
    page = visit()
    begin(page)
    unfold(page, "mask")
    draw(page, page.locator("#painter canvas").first)
    chosen = page.get_by_label("where I paint")
    playwright.expect(chosen).to_be_checked(timeout=PATIENCE)
    edited(page, "dited in")
    playwright.expect(page.locator("#mask-used img")).to_be_visible()
    with zipfile.ZipFile(io.BytesIO(fetched(page, "zip"))) as archive:
        mask = pixels(archive.read("mask.png"))[..., 0]
        picture, photo = (pixels(archive.read(n)) for n in ("edit-1.png", "input.png"))
    assert 0 < (mask > 0).mean() < 0.5
    ys, xs = np.nonzero(mask)
    near = np.zeros_like(mask, bool)
    near[max(0, ys.min() - 8) : ys.max() + 9, max(0, xs.min() - 8) : xs.max() + 9] = True
    apart = np.abs(picture - photo).mean(-1)
    assert apart[~near].mean() < 6  # the autoencoder's error
    assert apart[mask > 0].mean() > 2 * apart[~near].mean()


def test_a_found_mask_is_mended_by_paint(visit):
    page = visit()
    begin(page)
    unfold(page, "mask")
    page.click("#find-mask")
    playwright.expect(said(page)).to_contain_text("The mask covers", timeout=PATIENCE)
    playwright.expect(page.get_by_label("where I paint")).to_be_checked()
    found = float(re.findall(r"covers (\d+) %", said(page).inner_text())[0]) / 100
    time.sleep(4)  # the editor is drawn anew
    draw(page, page.locator("#painter canvas").first, (0.68, 0.75))
    edited(page, "dited in")
    playwright.expect(page.locator("#mask-used img")).to_be_visible()
    with zipfile.ZipFile(io.BytesIO(fetched(page, "zip"))) as archive:
        mask = pixels(archive.read("mask.png"))[..., 0] > 0
    assert mask.mean() > found  # more than was found
    assert mask[40:, 40:].any()  # where the stroke is, and the cross is not


def test_a_word_shows_where_it_looks(visit):
    page = visit()
    begin(page)
    unfold(page, "looking")
    page.locator("#words").get_by_label("cross", exact=True).check()
    playwright.expect(page.locator("#attention img")).to_be_visible(timeout=PATIENCE)


def test_a_slider_that_is_let_go_edits_again(visit):
    page = visit()
    begin(page)
    edited(page, "dited in")
    page.get_by_label("Edit again whenever a slider is let go").check()
    slider = page.locator("#guidance input[type=range]")
    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    slider.dispatch_event("pointerup")
    playwright.expect(page.locator("#undo")).to_be_enabled(timeout=PATIENCE)


def test_cancel_stops_within_a_step(visit):
    page = visit()
    begin(page, 100)
    number(page, "variants", 8)
    page.click("#run")
    playwright.expect(said(page)).to_contain_text(re.compile("Inverting|Editing"))
    page.click("#cancel")
    playwright.expect(said(page)).to_contain_text("ancelled")
    playwright.expect(page.locator("#cancel")).to_be_disabled()
    number(page, "variants", 1)
    number(page, "steps", STEPS)
    edited(page, "dited in")  # the engine is free for the next job


def test_a_dropped_result_restores_all_settings(visit, tmp_path):
    page = visit()
    begin(page)
    number(page, "guidance", 3.3)
    number(page, "seed", 7)
    number(page, "variants", 2)
    number(page, "method-edit-friendly-skip", 0.2)
    playwright.expect(page.locator("#method-spec textarea")).to_have_value("edit-friendly:skip=0.2")
    edited(page, "dited in")
    result, packed = tmp_path / "result.png", tmp_path / "photo.png"
    result.write_bytes(fetched(page, "image"))
    with zipfile.ZipFile(io.BytesIO(fetched(page, "zip"))) as archive:
        packed.write_bytes(archive.read("input.png"))
    target = page.locator("#target textarea").input_value()

    other = visit()
    other.locator("#photo input[type=file]").set_input_files(result)
    playwright.expect(said(other)).to_contain_text("All settings of this result are restored")
    playwright.expect(other.locator("#target textarea")).to_have_value(target)
    for name, value in {
        "guidance": "3.3", "seed": "7", "variants": "2", "steps": STEPS,
        "method-edit-friendly-skip": "0.2",
    }.items():  # fmt: skip
        playwright.expect(other.locator(f"#{name} input[type=number]")).to_have_value(value)
    other.locator("#photo input[type=file]").set_input_files(packed)
    other.wait_for_selector("#photo img")
    edited(other, "edited in")
    assert fetched(other, "image") == result.read_bytes()


def test_two_people_at_once_get_their_own(visit):
    one, two = visit(), visit()
    for page, target in ((one, "a dotted red cross"), (two, "a dotted black cross")):
        begin(page, 20)
        page.locator("#target textarea").fill(target)
    one.click("#run")
    two.click("#run")
    for page, target in ((one, "a dotted red cross"), (two, "a dotted black cross")):
        playwright.expect(said(page)).to_contain_text("dited in")
        playwright.expect(page.locator("#past input")).to_have_value(re.compile(target))


def test_errors_are_sentences_on_the_page(visit, tmp_path):
    page = visit()
    page.locator("#target textarea").fill("a cat")
    edited(page, "Give a photo first")
    bad = tmp_path / "photo.png"
    bad.write_bytes(b"<svg onload='alert(1)'></svg>")
    page.locator("#photo input[type=file]").set_input_files(bad)
    playwright.expect(said(page)).to_contain_text("is not an image in a known format")
    begin(page)
    page.locator("#method-spec textarea").fill("edit-friendly:skip=2.5")
    page.locator("#method-spec textarea").blur()
    edited(page, "skip")
    assert page.locator("#panel .error").count() == 1


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
    playwright.expect(said(page)).to_contain_text("dited in")


def test_a_comparison_hands_its_settings_over(visit):
    page = visit()
    begin(page)
    page.get_by_role("tab", name="Compare").click()
    page.locator("#skips input, #skips textarea").first.fill("0.2 0.5")
    page.locator("#guidances input, #guidances textarea").first.fill("1 3")
    page.click("#skip-guidance")
    told = page.locator("#compare-panel .says")
    playwright.expect(told).to_contain_text("4 edits in", timeout=PATIENCE)
    pictures = page.locator("#compare-grid img")
    playwright.expect(pictures).to_have_count(4)
    playwright.expect(page.locator("#compare-grid")).to_contain_text("edit-friendly:skip=0.5, w 3")
    pictures.nth(3).click()
    playwright.expect(told).to_contain_text("Taken over")
    page.get_by_role("tab", name="Edit").click()
    playwright.expect(page.locator("#guidance input[type=number]")).to_have_value("3")
    spec = page.locator("#method-spec textarea")
    playwright.expect(spec).to_have_value("edit-friendly:skip=0.5")
    edited(page, "Re-edited in")  # it was inverted for the comparison


def test_the_noise_is_shown_shifted_and_coloured(visit):
    page = visit()
    begin(page)
    page.get_by_role("tab", name="Noise space").click()
    page.click("#look")
    told = page.locator("#noise-panel .says")
    playwright.expect(told).to_contain_text("noise maps by EditFriendly", timeout=PATIENCE)
    playwright.expect(page.locator("#variance img")).to_be_visible()
    playwright.expect(page.locator("#noise-maps img").first).to_be_visible()
    photo = page.locator("#shift-photo img")
    photo.scroll_into_view_if_needed()
    photo.click(position={"x": 20, "y": 20})
    playwright.expect(told).to_contain_text("now click where")
    box = photo.bounding_box()
    photo.click(position={"x": 20 + box["width"] / 4, "y": 20})
    playwright.expect(told).to_contain_text("pixels to the right and 0 down")
    moved = float(page.locator("#dx input[type=number]").input_value())
    assert 12 <= moved <= 20  # a quarter of 64 pixels
    page.click("#shift")
    playwright.expect(told).to_contain_text("Done in", timeout=PATIENCE)
    playwright.expect(page.locator("#operated img")).to_have_count(2)
    page.click("#keep-shift")
    playwright.expect(told).to_contain_text("Edits are of the shifted photo")
    draw(page, page.locator("#colours canvas").first)
    page.click("#colour")
    playwright.expect(told).to_contain_text("Done in", timeout=PATIENCE)
    page.get_by_role("tab", name="Edit").click()
    edited(page, "dited in")
    unfold(page, "again")
    command = page.locator("#as-cli textarea").input_value()
    assert f"--operation shift:dx={moved:.0f},dy=0" in command
