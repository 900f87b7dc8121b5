"""One tiny random model for all tests of the web application, one engine a test; a browser."""

import subprocess
import sys

import driving
import pytest
from watched import Watched

from noisespace.models.pipeline import from_pipeline
from noisespace.web.engine import Engine
from tiny import tiny_sd


@pytest.fixture(scope="session")
def network():
    return from_pipeline(tiny_sd(), "tiny")


@pytest.fixture
def model(network):
    return Watched(network)


@pytest.fixture
def engine(model):
    with Engine({"tiny": model}) as engine:
        yield engine
        model.release()


@pytest.fixture(scope="session")
def url(tmp_path_factory):
    """``noisespace app`` as people start it, in a process of its own."""
    command = [sys.executable, "-m", "noisespace", "app", "--port", "0", "--no-browser"]
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
    # not of the session: while it is there, no other test can run an event loop
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as started:
        expect.set_options(timeout=driving.PATIENCE)
        opened = started.chromium.launch(executable_path=driving.CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser, url):
    """Opens the page as another visitor each time; what the browser complains of fails the test.

    ``refusals``: a test that is about the server's refusals may see them.
    """
    contexts, complaints = [], []

    def foreign(address):
        return not address.startswith((url, "data:", "blob:"))

    def visitor(*, refusals=False, **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(driving.PATIENCE)
        page.on("request", lambda r: foreign(r.url) and complaints.append(f"fetched {r.url}"))
        if not refusals:
            page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
            page.on("console", lambda m: m.type == "error" and complaints.append(m.text))
            page.on(
                "response", lambda r: r.status >= 400 and complaints.append(f"{r.status} {r.url}")
            )
        arrive(page, url)
        return page

    yield visitor
    for context in contexts:
        context.close()
    assert complaints == []


def arrive(page, url):
    page.goto(url)
    page.wait_for_selector("#run")
    page.wait_for_function("window.noisespace === true")  # it has said what was there before
