"""Rows and pictures of a study under way: in a folder they outlive the process."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from noisespace.errors import InputError
from noisespace.study.finding import Row, plain
from noisespace.system.files import check_writable, remove_leftovers, write_bytes

ROWS, PICTURES, NUMBERS = "rows.jsonl", "pictures", "numbers.json"


class Kept:
    """What was measured so far, task by task; without a folder only while the process lives.

    ``head``: the settings that rows belong to; a folder with rows of others is refused. With
    ``resume`` the folder's rows count as done, with ``force`` they are thrown away, with neither
    a folder that has results is refused.
    """

    def __init__(
        self,
        folder: Path | None = None,
        head: Mapping[str, Any] | None = None,
        *,
        resume: bool = False,
        force: bool = False,
    ) -> None:
        self._folder, self._head = folder, plain(dict(head or {}))
        self._rows: dict[str, list[Row]] = {}
        self.seconds = 0.0  # that the tasks took which are kept, over all runs
        self._pictures: dict[str, np.ndarray] = {}
        if folder is None:
            return
        check_free(folder, resume=resume, force=force)
        for each in (folder, folder / PICTURES):
            remove_leftovers(each)
        if resume:
            self._rows = self._read(folder / ROWS)
        elif force:
            for path in (folder / NUMBERS, folder / ROWS, *(folder / PICTURES).glob("*.png")):
                path.unlink(missing_ok=True)

    def rows(self, key: Mapping[str, Any]) -> list[Row] | None:
        """The rows of a task, None where it is still to be done."""
        return self._rows.get(named(key))

    def add(self, key: Mapping[str, Any], rows: list[Row], seconds: float = 0.0) -> None:
        """Keeps the rows of a task that is done, and the ``seconds`` that it took."""
        rows, seconds = plain(rows), round(seconds, 3)
        if self._folder is not None:
            line = {"task": plain(key), "seconds": seconds, "rows": rows}
            head = json.dumps({"head": self._head}) + "\n"
            append(self._folder / ROWS, json.dumps(line) + "\n", head)
        self._rows[named(key)] = rows
        self.seconds += seconds

    def keep(self, name: str, picture: Any) -> None:
        """Keeps a picture, uint8 (h, w, 3); before the rows of its task, so that it is there."""
        array = np.asarray(picture)
        self._pictures[name] = array
        if self._folder is not None:
            file = BytesIO()
            Image.fromarray(array).save(file, "PNG")
            write_bytes(self._folder / PICTURES / f"{name}.png", file.getvalue(), force=True)

    def picture(self, name: str) -> np.ndarray | None:
        """A picture that was kept, None where there is none."""
        path = self._folder / PICTURES / f"{name}.png" if self._folder is not None else None
        if name not in self._pictures and path is not None and path.is_file():
            self._pictures[name] = np.asarray(Image.open(path))
        return self._pictures.get(name)

    def _read(self, path: Path) -> dict[str, list[Row]]:
        """The finished tasks of a file; what a killed process left half-written is cut off."""
        if not path.exists():
            return {}
        found, good = read_lines(path)
        if not found:
            path.unlink()
            return {}
        if found[0].get("head") != self._head:
            raise InputError(
                f"{path}: has rows of other settings ({json.dumps(found[0].get('head'))}); give "
                "those, another folder, or --force to begin anew"
            )
        if good < path.stat().st_size:
            os.truncate(path, good)
        self.seconds = sum(line.get("seconds", 0.0) for line in found[1:])
        return {named(line["task"]): line["rows"] for line in found[1:]}


def check_free(folder: Path, *, resume: bool = False, force: bool = False) -> None:
    """Refuses, before anything runs, a folder that has results or cannot be written."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; expected a folder to write to")
    check_writable(folder / ROWS, force=True)
    has = [name for name in (ROWS, NUMBERS) if (folder / name).exists()]
    if has and not resume and not force:
        raise InputError(
            f"{folder}: has {has[0]} already; go on with --resume, overwrite with --force, or "
            "name another folder"
        )


def named(key: Mapping[str, Any]) -> str:
    """A task's key as text."""
    return json.dumps(plain(key), sort_keys=True)


def append(path: Path, text: str, head: str) -> None:
    """Adds a line to a file, which begins with ``head``; on the disk when this returns."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        with path.open("a", encoding="utf-8") as file:
            file.write((head if new else "") + text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None


def read_lines(path: Path) -> tuple[list[Row], int]:
    """The JSON lines of a file up to the first broken one, and how many bytes they take."""
    found, good = [], 0
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            value = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            value = None
        if not isinstance(value, dict):
            break
        found.append(value)
        good += len(line)
    return found, good
