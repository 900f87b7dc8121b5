"""Takes the pictures of the page that the documentation shows: python tests/web/shots.py [OUT]

OUT is docs/img by default. Look at them afterwards. Starts `noisespace app` and drives it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import driving as d
from playwright.sync_api import Page, expect, sync_playwright

WIDE = {"viewport": {"width": 1280, "height": 1000}}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "device_scale_factor": 2}


def main(out: Path) -> None:
    command = [sys.executable, "-m", "noisespace", "app", "--port", "0", "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout
    try:
        url = server.stdout.readline().split()[-1]
        with sync_playwright() as started:
            expect.set_options(timeout=d.PATIENCE)
            browser = started.chromium.launch(executable_path=d.CHROMIUM, args=["--no-sandbox"])

            def visit(**options) -> Page:
                page = browser.new_context(**options).new_page()
                page.goto(url)
                page.wait_for_function("window.noisespace === true")
                d.begin(page, 20)
                return page

            for name, shoot, options in SHOTS:
                page = visit(**options)
                shoot(page)
                page.evaluate("window.scrollTo(0, 0)")
                page.mouse.move(0, 0)
                page.wait_for_timeout(800)
                page.screenshot(path=str(out / name), type="jpeg", quality=88)
                page.context.close()
            browser.close()
    finally:
        server.terminate()
        server.wait(60)


def edit(page: Page) -> None:
    """Four variants of one edit, re-edited."""
    d.number(page, "variants", 4)
    d.edited(page, "dited in")
    d.number(page, "guidance", 3)
    d.edited(page, "Re-edited in")


def phone(page: Page) -> None:
    d.edited(page, "dited in")


def compare(page: Page) -> None:
    d.tab(page, "Compare")
    page.locator("#skips input, #skips textarea").first.fill("0.1 0.36 0.6")
    page.locator("#guidances input, #guidances textarea").first.fill("1 2 4")
    page.click("#skip-guidance")
    d.expect(d.said(page, "compare-panel")).to_contain_text("9 edits in")


def noise(page: Page) -> None:
    d.tab(page, "Noise space")
    page.click("#look")
    d.expect(d.said(page, "noise-panel")).to_contain_text("noise maps by")
    d.expect(page.locator("#noise-maps img").first).to_be_visible()


SHOTS = (
    ("page-edit.jpg", edit, WIDE),
    ("page-dark.jpg", edit, {**WIDE, "color_scheme": "dark"}),
    ("page-phone.jpg", phone, {**PHONE, "color_scheme": "dark"}),
    ("page-compare.jpg", compare, WIDE),
    ("page-noise.jpg", noise, WIDE),
)

if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/img"))
