"""OUT/results.jsonl: measurements kept line by line, so that a run that was stopped goes on."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

from noisespace.study.measure import where as where


def started(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options, and OUT made; refuses to mix runs unless asked to go on."""
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if (options.out / "results.jsonl").exists() and not options.resume:
        parser.error(f"{options.out} has results already: go on with --resume, or name another")
    return options


def read(out: Path) -> list[dict]:
    """The measurements that OUT has."""
    path = out / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def write(out: Path, lines: Iterable[dict]) -> None:
    """Adds measurements."""
    with (out / "results.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
