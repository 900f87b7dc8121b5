"""How long a visitor of the page waits: the first page, the first edit, an edit after that.

    python benchmarks/web_page.py [--model scenes] [--runs 3]

Starts `noisespace app` and drives it in a real Chromium: seconds from the click to the result on
the screen, medians over runs, each with a seed that was not inverted before. Settings are the
page's own.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from statistics import median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="scenes")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("there is no chromium here: nothing is measured")
        return
    start = time.perf_counter()
    command = [sys.executable, "-m", "noisespace", "app", "--port", "0", "--no-browser"]
    command += ["--model", options.model]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout
    try:
        url = server.stdout.readline().split()[-1]
        print(f"{'the server answers after':32}{time.perf_counter() - start:6.1f} s")
        for name, seconds in waits(url, chromium, options.runs).items():
            spread = f"{min(seconds):.1f} to {max(seconds):.1f}"
            print(f"{name:32}{median(seconds):6.1f} s   ({spread}, {len(seconds)} runs)")
    finally:
        server.terminate()
        server.wait(60)


def waits(url: str, chromium: str, runs: int) -> dict[str, list[float]]:
    """Seconds by what is waited for; the first page is a browser's first, with an empty cache."""
    from playwright.sync_api import expect, sync_playwright

    found: dict[str, list[float]] = {"first page": [], "first edit": [], "edit after that": []}
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for seed in range(runs):
            page = browser.new_context().new_page()
            begin = time.perf_counter()
            page.goto(url)
            page.wait_for_selector("#run")
            found["first page"].append(time.perf_counter() - begin)
            page.wait_for_function("window.noisespace === true")
            page.get_by_text("→").first.click()
            expect(page.locator("#source textarea")).not_to_have_value("")
            page.wait_for_selector("#photo img")
            type_in(page, "seed", 1000 + seed)
            said = page.locator("#panel .says")
            for name, text, guidance in (
                ("first edit", "Inverted in", 3.0),
                ("edit after that", "Re-edited in", 4.0),
            ):
                type_in(page, "guidance", guidance)
                page.wait_for_timeout(300)
                begin = time.perf_counter()
                page.click("#run")
                expect(said).to_contain_text(text, timeout=300_000)
                page.wait_for_selector("#before-after img")
                found[name].append(time.perf_counter() - begin)
        browser.close()
    return found


def type_in(page, name: str, value: float) -> None:
    box = page.locator(f"#{name} input[type=number]")
    box.fill(str(value))
    box.blur()


if __name__ == "__main__":
    main()
