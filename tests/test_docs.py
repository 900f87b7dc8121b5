"""Pages say nothing of files that are not there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")})
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")


def links(text):
    """What a page links to beside itself, of the project's own."""
    found = [a or b for a, b in LINK.findall(FENCED.sub("", text))]
    return [link.partition("#")[0] for link in found if not re.match(r"[a-z]+:|#", link)]


def test_links_are_found():
    page = '[a](b.md#c) ![d](img/e.png)\n<img src="f.png"> [g](https://h.example) [i](#j)\n'
    assert links(f"{page}```\n[no](link)\n```\n") == ["b.md", "img/e.png", "f.png"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page):
    text = page.read_text(encoding="utf-8")
    assert [link for link in links(text) if not (page.parent / link).exists()] == []
