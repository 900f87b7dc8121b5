"""How tests drive the page in a browser."""

from __future__ import annotations

import io
import re
import shlex
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noisespace.models.loading import EMBEDDED

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE = 60_000  # milliseconds; a machine may be loaded
STEPS = "5"


def needed() -> list[pytest.MarkDecorator]:
    """Marks of tests that need a browser, gradio and the embedded model."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    pytest.importorskip("gradio", reason="gradio is not installed")
    return [
        pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
        pytest.mark.skipif(
            not (EMBEDDED["scenes"] / "model_index.json").is_file(), reason="no embedded model yet"
        ),
    ]


def expect(what):
    from playwright.sync_api import expect

    return expect(what)


def number(page, name, value):
    """Types into a slider's or number's box."""
    box = page.locator(f"#{name} input[type=number]")
    box.fill(str(value))
    box.blur()


def number_of(page, name):
    return page.locator(f"#{name} input[type=number]")


def begin(page, steps=STEPS):
    """Takes the first example."""
    page.get_by_text("→").first.click()
    expect(page.locator("#source textarea")).not_to_have_value("")
    page.wait_for_selector("#photo img")
    number(page, "steps", steps)


def said(page, panel="panel"):
    return page.locator(f"#{panel} .says")


def edited(page, text):
    """Presses Edit and waits for the panel to say ``text``."""
    page.click("#run")
    expect(said(page)).to_contain_text(text)


def tab(page, name):
    page.get_by_role("tab", name=name).click()


def unfold(page, name):
    """Opens an accordion that is closed."""
    page.locator(f"#{name} button.label-wrap").first.click()


def stroke(page, editor, place=(0.5, 0.5)):
    """A stroke on a board, from a place within it."""
    canvas = page.locator(f"#{editor} canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] * place[0], box["y"] + box["height"] * place[1]
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 20, y + 10, steps=5)
    page.mouse.up()


def draw(page, editor, told, place=(0.5, 0.5)):
    """A stroke, tried until ``told`` says that it has come.

    One on a board that is just being drawn anew is of no account.
    """
    before = told.inner_text()
    for _ in range(8):
        stroke(page, editor, place)
        for _ in range(30):
            if told.inner_text() != before:
                return
            page.wait_for_timeout(100)
    raise AssertionError(f"no stroke has come: {before!r}")


def share(told):
    """The share that the page says to be painted."""
    return float(re.findall(r"covers ([\d.]+) %", told.inner_text())[0]) / 100


def fetched(page, kind):
    with page.expect_download(timeout=PATIENCE) as download:
        page.click(f"#get-{kind}")
    return Path(download.value.path()).read_bytes()


def unzipped(page):
    with zipfile.ZipFile(io.BytesIO(fetched(page, "zip"))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pixels(data):
    return np.array(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def drop(page, path):
    """A file for the photo."""
    page.locator("#photo input[type=file]").set_input_files(path)


def paste(page, data, name="photo.png", kind="image/png"):
    """A picture file from the clipboard, as Ctrl-V on the page brings it."""
    page.evaluate(
        """([bytes, name, kind]) => {
          const carried = new DataTransfer();
          carried.items.add(new File([new Uint8Array(bytes)], name, {type: kind}));
          document.body.dispatchEvent(
            new ClipboardEvent("paste", {clipboardData: carried, bubbles: true, cancelable: true}));
        }""",
        [list(data), name, kind],
    )


def reproduces(files, folder, monkeypatch):
    """The command of a zip writes the page's very file, and its Python the pixels."""
    from typer.testing import CliRunner

    from noisespace.cli.app import app

    wanted = files["edit-1.png"]
    for name, data in files.items():
        if name.endswith(".png") and not name.startswith("edit"):
            (folder / name).write_bytes(data)
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, shlex.split(files["edit.sh"].decode())[1:])
    assert done.exit_code == 0, done.output
    assert Path("edit.png").read_bytes() == wanted
    exec(files["edit.py"].decode(), {})
    assert (pixels(Path("edit-1.png").read_bytes()) == pixels(wanted)).all()
