"""What a resident model does with a group: inverted once, edited, written; failures row by row."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from noisespace.api import edit, invert
from noisespace.batch.plan import PAINTED, Choice, Settings
from noisespace.batch.records import write_part
from noisespace.batch.specs import editor_of, mask_of, method_of, side
from noisespace.batch.stores import Store
from noisespace.batch.work import Done, Ready, Task, Told, ready
from noisespace.batch.writer import Writer
from noisespace.bench.costs import Cost, costing
from noisespace.bench.pictures import masks_of, own_record
from noisespace.core.batching import is_lost, is_out_of_memory, release_memory
from noisespace.core.code import Code
from noisespace.errors import InputError, RunError, reason
from noisespace.pictures.images import fitted_size
from noisespace.planning.result import Result


class DeviceError(RunError):
    """A device that works no more in this process: only another process can go on."""


@dataclass(frozen=True)
class Worker:
    """A resident model and what it does with tasks; writes to the store by itself."""

    model: Any
    settings: Settings
    store: Store

    @cached_property
    def writer(self) -> Writer:
        return Writer(self.model, self.settings, self.store)

    def run(
        self,
        task: Task,
        decoded: Sequence[Ready | str],
        tell: Callable[[str], None] = lambda row: None,
    ) -> Told:
        """Edits a group and writes its pictures, then its part of the journal.

        A task that runs alone is decoded here, row by row: ``decoded`` may be empty then, and
        ``tell(id)`` hears which row comes next, "" after them. Raises StoreError where outputs
        cannot be written, DeviceError where the device is lost; all else is a failed row.
        """
        start = time.perf_counter()
        if task.alone:
            decoded, outcomes = self.one_by_one(task, tell)
        else:
            batches, outcomes = self.batches(task, decoded)
            for batch in batches:
                outcomes |= self.tried(task.group.choice, batch)
        records = self.writer.write(task, outcomes, decoded)
        write_part(self.store, task.group.index, task.attempt, records)
        bad = sum(one.status != "ok" for one in records)
        short = any(done.short for done in outcomes.values())
        return Told(task.group.index, len(records), bad, time.perf_counter() - start, short)

    def one_by_one(
        self, task: Task, tell: Callable[[str], None]
    ) -> tuple[list[Ready | str], dict[str, Done]]:
        """Rows read and run by themselves, so that what dies dies of one of them.

        Only those that are wanted: there is no batch that has to stay whole.
        """
        choice = task.group.choice
        decoded: list[Ready | str] = []
        outcomes: dict[str, Done] = {}
        for item in filter(task.wants, task.group.items):
            if item.id in task.poison:
                outcomes[item.id] = Done(reason=task.poison[item.id])
                continue
            tell(item.id)
            one = ready(item, choice)
            decoded.append(one)
            outcomes |= (
                {item.id: Done(reason=one)} if isinstance(one, str) else self.tried(choice, [one])
            )
        tell("")
        return decoded, outcomes

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
                if isinstance(one, str):
                    raise InputError(one)
                sizes.setdefault(self.working_size(task.group.choice, one), []).append(one)
            except InputError as error:
                bad[item.id] = Done(reason=reason(error))
        whole = [batch for _, batch in sorted(sizes.items())]
        return [batch for batch in whole if any(task.wants(one.item) for one in batch)], bad

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
            short, why = is_out_of_memory(error), reason(error)
            if not short and is_lost(self.model.device):
                raise DeviceError(f"the device {self.model.device} is lost: {why}") from None
        if len(batch) == 1:
            return {batch[0].item.id: Done(batch=1, reason=why, short=short)}
        release_memory()
        size = (len(batch) + 1) // 2 if short else 1
        parts = [batch[start : start + size] for start in range(0, len(batch), size)]
        return {
            name: replace(done, short=done.short or short)
            for part in parts
            for name, done in self.tried(choice, part).items()
        }

    def edited(self, choice: Choice, batch: Sequence[Ready]) -> dict[str, Done]:
        """What every image of a batch gave."""
        made, cost = costing(self.model, lambda model: self.ran(model, choice, batch), memory=False)
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
