"""The work behind records: a group decoded, inverted once, edited, written; failures row by row."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from noisespace.api import edit, invert
from noisespace.batch.places import Store, content_name, fetch
from noisespace.batch.plan import PAINTED, Choice, Group, Item, Settings
from noisespace.batch.records import Record, write_part
from noisespace.batch.specs import editor_of, mask_of, method_of, side
from noisespace.bench.costs import Cost, costing
from noisespace.bench.judges import Judges
from noisespace.bench.metrics import Edit, by_case, measure
from noisespace.bench.pictures import masks_of, own_record
from noisespace.code import Code
from noisespace.decode import unpack
from noisespace.errors import InputError, reason
from noisespace.images import fitted_size
from noisespace.metadata import png_bytes
from noisespace.parts import let_go, out_of_memory
from noisespace.result import Result


@dataclass(frozen=True)
class Task:
    """A group to run.

    ``wanted``: the rows to record of it, None for all (a retry has fewer); ``alone``: image by
    image, for workers died of the group; ``poison``: rows that workers died of, and why they are
    not run.
    """

    group: Group
    attempt: int = 1
    wanted: frozenset[str] | None = None
    alone: bool = False
    poison: Mapping[str, str] = field(default_factory=dict)

    def wants(self, item: Item) -> bool:
        return self.wanted is None or item.id in self.wanted

    @property
    def rows(self) -> int:
        return len(self.group.items) if self.wanted is None else len(self.wanted)


@dataclass(frozen=True, eq=False)
class Ready:
    """A row with its pixels, uint8 (h, w, 3), and its painted mask."""

    item: Item
    pixels: np.ndarray
    mask: np.ndarray | None = None


@dataclass(frozen=True)
class Told:
    """What a worker says of a finished task."""

    group: int
    rows: int
    failed: int
    seconds: float = 0.0
    halved: bool = False


@dataclass(frozen=True)
class Done:
    """A row's results before they are written, or why there are none."""

    pictures: list[Any] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    masks: Any = None
    code: Code | None = None
    steps: int | None = None
    weights: tuple[float | None, float | None] = (None, None)
    batch: int = 0
    seconds: float | None = None
    evaluations: float | None = None
    reason: str = ""


def decode(task: Task) -> list[Ready | str]:
    """The pixels of a task's rows, or why a row has none."""
    return [ready(item, task.group.choice) for item in task.group.items]


def ready(item: Item, choice: Choice) -> Ready | str:
    try:
        pixels = unpack(fetch(item.image), item.image)
        painted = choice.mask == PAINTED and item.mask
        return Ready(item, pixels, unpack(fetch(painted), painted) if painted else None)
    except Exception as error:  # of one row: whatever it is, the others go on
        return reason(error)


def failed(task: Task, why: str) -> list[Record]:
    """The records of a task that could not run at all."""
    items = [item for item in task.group.items if task.wants(item)]
    return [record(task, item, Done(reason=why)) for item in items]


def record(task: Task, item: Item, done: Done) -> Record:
    """A row's record, without what is only known once its pictures are written."""
    choice = task.group.choice
    return Record(
        id=item.id,
        line=item.line,
        group=task.group.index,
        attempt=task.attempt,
        image=item.image,
        source=item.source,
        targets=list(item.targets),
        mask=item.mask,
        seed=item.seed,
        method=choice.method,
        editor=choice.editor,
        guidance=choice.guidance if done.weights[1] is None else done.weights[1],
        source_guidance=choice.source_guidance if done.weights[0] is None else done.weights[0],
        steps=choice.steps if done.steps is None else done.steps,
        status="failed" if done.reason else "ok",
        reason=done.reason,
        batch=done.batch or None,
        seconds=done.seconds,
        evaluations=done.evaluations,
    )


@dataclass(frozen=True)
class Worker:
    """A resident model and what it does with tasks; writes to the store by itself."""

    model: Any
    settings: Settings
    store: Store

    def run(
        self,
        task: Task,
        decoded: Sequence[Ready | str],
        tell: Callable[[str], None] = lambda row: None,
    ) -> Told:
        """Edits a group and writes its pictures, then its part of the journal.

        ``tell(id)`` hears which row comes next where they run one by one. Raises StoreError where
        outputs cannot be written; all else is a failed row.
        """
        start = time.perf_counter()
        batches, outcomes = self.batches(task, decoded)
        for batch in batches:
            if task.alone:
                tell(batch[0].item.id)
            outcomes |= self.tried(task.group.choice, batch)
        pixels = {one.item.id: one for one in decoded if isinstance(one, Ready)}
        wanted = [item for item in task.group.items if task.wants(item)]
        records = [self.written(task, i, outcomes[i.id], pixels.get(i.id)) for i in wanted]
        write_part(self.store, task.group.index, task.attempt, records)
        bad = sum(one.status != "ok" for one in records)
        smaller = any(
            0 < outcomes[o.item.id].batch < len(batch) for batch in batches for o in batch
        )
        return Told(task.group.index, len(records), bad, time.perf_counter() - start, smaller)

    def batches(
        self, task: Task, decoded: Sequence[Ready | str]
    ) -> tuple[list[list[Ready]], dict[str, Done]]:
        """The images of a group by working size, and the rows that cannot run.

        Of a retry, only batches with a row that is wanted; but whole, so that they come out alike.
        """
        sizes: dict[tuple[int, int], list[Ready]] = {}
        bad: dict[str, Done] = {}
        for item, one in zip(task.group.items, decoded, strict=True):
            try:
                if isinstance(one, str) or item.id in task.poison:
                    raise InputError(task.poison.get(item.id, str(one)))
                sizes.setdefault(self.working_size(task.group.choice, one), []).append(one)
            except InputError as error:
                bad[item.id] = Done(reason=reason(error))
        whole = [batch for _, batch in sorted(sizes.items())]
        batches = [batch for batch in whole if any(task.wants(one.item) for one in batch)]
        return ([[one] for batch in batches for one in batch] if task.alone else batches), bad

    def working_size(self, choice: Choice, one: Ready) -> tuple[int, int]:
        own = one.pixels.shape[0], one.pixels.shape[1]
        options = {"target": self.model.resolution, "multiple": self.model.multiple}
        return fitted_size(own, side(choice.size), **options)

    def tried(self, choice: Choice, batch: Sequence[Ready]) -> dict[str, Done]:
        """What becomes of images of one size: halves where memory runs out, rows alone where
        anything else fails, so that one row's fault stays its own."""
        try:
            return self.edited(choice, batch)
        except Exception as error:  # from any network, editor or picture
            short, why = out_of_memory(error), reason(error)
        if len(batch) == 1:
            return {batch[0].item.id: Done(batch=1, reason=why)}
        let_go()
        size = (len(batch) + 1) // 2 if short else 1
        parts = [batch[start : start + size] for start in range(0, len(batch), size)]
        return {name: done for part in parts for name, done in self.tried(choice, part).items()}

    def edited(self, choice: Choice, batch: Sequence[Ready]) -> dict[str, Done]:
        """What every image of a batch gave."""
        made, cost = costing(self.model, lambda model: self.ran(model, choice, batch))
        return {
            one.item.id: self.done(choice, made, index, one, cost, len(batch))
            for index, one in enumerate(batch)
        }

    def ran(self, model: Any, choice: Choice, batch: Sequence[Ready]) -> tuple[Code, Result]:
        """Every target of every image, by one inversion; each image has its own seed."""
        seeds = [one.item.seed for one in batch]
        masks = [one.mask for one in batch]
        code = invert(
            model,
            [one.pixels for one in batch],
            [one.item.source for one in batch],
            method_of(choice.method),
            steps=choice.steps,
            guidance=choice.source_guidance,
            seed=seeds,
            size=side(choice.size),
        )
        result = edit(
            model,
            code,
            [list(one.item.targets) for one in batch],
            guidance=choice.guidance,
            editor=editor_of(choice.editor),
            mask=masks if choice.mask == PAINTED else mask_of(choice.mask),
            seed=seeds,
        )
        return code, result

    def done(
        self,
        choice: Choice,
        made: tuple[Code, Result],
        index: int,
        one: Ready,
        cost: Cost,
        count: int,  # the sixth: what a batch has, and which of it
    ) -> Done:
        """One image's results, taken out of its batch."""
        code, result = made
        each = choice.targets
        own = range(index * each, (index + 1) * each)
        mask = one.mask if choice.mask == PAINTED else mask_of(choice.mask)
        used = masks_of(result, count * each)
        if isinstance(result.mask, list) and len(result.mask) == count * each:
            used = used[own.start : own.stop]
        else:
            used = [used[0]] * each
        return Done(
            pictures=[result.images[k] for k in own],
            records=[own_record(result.record_of(k), index, mask) for k in own],
            masks=used,
            code=code.of_image(index) if self.settings.codes else None,
            steps=code.steps,
            weights=(code.guidance, result.record["guidance"]),
            batch=count,
            seconds=cost.seconds / count,
            evaluations=cost.evaluations / count,
        )

    def written(self, task: Task, item: Item, done: Done, one: Ready | None) -> Record:
        """A row's record, its pictures and code on their places."""
        told = record(task, item, done)
        if one is None or done.reason:
            return told
        names = []
        for picture, own in zip(done.pictures, done.records, strict=True):
            names.append(self.put(png_bytes(picture, own), "pictures", ".png"))
        code = (
            None if done.code is None else self.put(done.code.to_bytes(), "codes", ".safetensors")
        )
        found: dict[str, Any] = {"pictures": names, "code": code}
        found |= {"height": one.pixels.shape[0], "width": one.pixels.shape[1]}
        found |= {"image_digest": done.records[0]["source"]["image"][0]}
        return Record(**{**vars(told), **found, **self.measured(item, done, one)})

    def put(self, data: bytes, folder: str, suffix: str) -> str:
        """Writes a file under the name of its content, unless it is there."""
        name = content_name(data, folder, suffix)
        if not self.store.has(name):
            self.store.put(name, data)
        return name

    @cached_property
    def judges(self) -> Judges:
        towers = self.settings.model if getattr(self.model, "towers", None) is not None else None
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
