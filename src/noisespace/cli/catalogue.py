"""``noisespace methods``: what there is, by the classes themselves."""

from __future__ import annotations

from typing import Any

from noisespace.cli import options as o
from noisespace.cli.outcome import finish


def methods(as_json: o.Json = False) -> None:
    """Lists inversions, editors, masks and operations with their fields."""
    from noisespace.planning.catalogue import catalogue

    found = catalogue()
    lines = []
    for kind, choices in found.items():
        lines += [kind, *(line for name, one in choices.items() for line in lines_of(name, one))]
    finish(found, lines, as_json)


def lines_of(name: str, one: dict[str, Any]) -> list[str]:
    """One choice in a few lines."""
    lines = [f"  {name}: {one['about']}"]
    if "steps" in one:
        guidance = f"guidance {one['invert']:g} inverting, {one['edit']:g} editing"
        lines.append(f"      published: {one['steps']} steps, {guidance}")
    for field in one["fields"]:
        range_ = f" {field['range']}" if field["range"] else ""
        usual = f"={field['default']}" if "default" in field else ", to be given"
        lines.append(f"    {field['name']}{usual}{range_}: {field['help']}")
    return lines
