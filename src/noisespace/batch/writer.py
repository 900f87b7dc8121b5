"""What a group leaves in the store: pictures and codes by their content, and the rows' records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from noisespace.batch.plan import Item, Settings
from noisespace.batch.records import Record
from noisespace.batch.stores import Store, content_name
from noisespace.batch.work import Done, Ready, Task, record
from noisespace.bench.judges import Judges
from noisespace.bench.metrics import Edit, by_case, measure
from noisespace.errors import reason
from noisespace.pictures.metadata import png_bytes

THREADS = 4  # that pack and send pictures: zlib and stores let go of the interpreter meanwhile


@dataclass(frozen=True)
class Files:
    """The names of a row's files under the job's folder."""

    pictures: list[str]
    code: str | None


@dataclass(frozen=True)
class Writer:
    """Writes for a worker; ``model`` judges the alignment of pictures where that is asked for."""

    model: Any
    settings: Settings
    store: Store

    def write(
        self, task: Task, outcomes: Mapping[str, Done], decoded: Sequence[Ready | str]
    ) -> list[Record]:
        """The records of a task's rows, whose files are there by then. StoreError if not."""
        items = [item for item in task.group.items if task.wants(item)]
        good = [item.id for item in items if not outcomes[item.id].reason]
        with ThreadPoolExecutor(THREADS) as pool:
            made = list(pool.map(lambda name: self.files(outcomes[name]), good))
        files = dict(zip(good, made, strict=True))
        pixels = {one.item.id: one for one in decoded if isinstance(one, Ready)}
        return [
            self.record(task, item, outcomes[item.id], files.get(item.id), pixels.get(item.id))
            for item in items
        ]

    def files(self, done: Done) -> Files:
        """Writes a row's pictures and its code."""
        pairs = zip(done.pictures, done.records, strict=True)
        names = [self.put(png_bytes(*pair), "pictures", ".png") for pair in pairs]
        code = None
        if done.code is not None:
            code = self.put(done.code.to_bytes(), "codes", ".safetensors")
        return Files(names, code)

    def put(self, data: bytes, folder: str, suffix: str) -> str:
        """Writes a file under the name of its content, unless it is there."""
        name = content_name(data, folder, suffix)
        if not self.store.has(name):
            self.store.put(name, data)
        return name

    def record(
        self, task: Task, item: Item, done: Done, files: Files | None, one: Ready | None
    ) -> Record:
        """A row's record."""
        told = record(task, item, done)
        if files is None or one is None:
            return told
        found: dict[str, Any] = {"pictures": files.pictures, "code": files.code}
        found |= {"height": one.pixels.shape[0], "width": one.pixels.shape[1]}
        found |= {"image_digest": done.records[0]["source"]["image"][0]}
        return Record(**{**vars(told), **found, **self.measured(item, done, one)})

    @cached_property
    def judges(self) -> Judges:
        towers = self.settings.model if self.model.alignment_folder is not None else None
        return Judges(alignment=towers, device=str(self.model.device))

    def measured(self, item: Item, done: Done, one: Ready) -> dict[str, Any]:
        """The metrics of a row's pictures: name -> a value a target, None where it has none."""
        if not self.settings.metrics:
            return {}
        found: dict[str, list[float | None]] = {name: [] for name in self.settings.metrics}
        try:
            for picture, target, mask in zip(done.pictures, item.targets, done.masks, strict=True):
                pair = Edit(one.pixels, np.asarray(picture), mask, item.source or None, target)
                row = by_case(measure([pair], self.settings.metrics, self.judges))
                for name in found:
                    value = row[0].get(name) if row else None
                    found[name].append(None if value is None or value != value else float(value))
        except Exception as error:  # the pictures are there: only their figures are not
            return {"reason": f"while measuring: {reason(error)}"}
        return {"metrics": found}
