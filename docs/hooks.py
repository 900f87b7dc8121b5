"""What mkdocs does beside writing pages: the tables of choices, from their classes.

A page says ``<!-- table: inversions -->`` where the table of that list is to stand.
"""

from __future__ import annotations

import re
from typing import Any

MARK = re.compile(r"<!-- table: (\w+) -->")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page with a table in the place of each mark."""
    if not MARK.search(markdown):
        return markdown
    from noisespace.planning.catalogue import catalogue

    found = catalogue()
    return MARK.sub(lambda mark: table(found[mark[1]]), markdown)


def table(choices: dict[str, dict[str, Any]]) -> str:
    """One list as a table."""
    published = any("steps" in one for one in choices.values())
    heads = [
        "name",
        "class",
        "what it does",
        *["steps, w inverting, w editing"] * published,
        "fields",
    ]
    rows = [heads, ["---"] * len(heads)]
    for name, one in choices.items():
        usual = f"{one['steps']}, {one['invert']:g}, {one['edit']:g}" if published else ""
        fields = "<br>".join(field(one) for one in one["fields"])
        cells = [f"`{name}`", f"`{one['class']}`", link_papers(one["about"])]
        rows.append([*cells, *[usual] * published, fields])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def field(one: dict[str, Any]) -> str:
    """A field with its default and range."""
    usual = f"={str(one['default']).lower()}" if "default" in one else ""
    return f"`{one['name']}{usual}`" + (f" {one['range']}" if one["range"] else "")


def link_papers(text: str) -> str:
    """A text whose arXiv numbers are links, fit for a cell."""
    text = re.sub(r"arXiv (\d{4}\.\d{4,5})", r"arXiv [\1](https://arxiv.org/abs/\1)", text)
    return text.replace("|", "\\|")
