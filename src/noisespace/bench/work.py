"""The work behind rows: a batch inverted once, edited by every method, measured case by case."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from noisespace.api import edit, invert
from noisespace.bench.cases import Case
from noisespace.bench.costs import Cost, costing
from noisespace.bench.methods import OWN, Method
from noisespace.bench.pictures import autoencoded, masks_of, own_record, plain_record, slug
from noisespace.bench.rows import COLUMNS, Row
from noisespace.core.code import Code
from noisespace.errors import InputError, reason
from noisespace.models.base import Model
from noisespace.pictures.describe import describe
from noisespace.pictures.metadata import save_png
from noisespace.planning.result import Result

Measure = Callable[[Case, np.ndarray, np.ndarray | None], Mapping[str, float | None]]


@dataclass(frozen=True, eq=False)
class Loaded:
    """A case with its pixels, uint8 (H, W, 3)."""

    case: Case
    pixels: np.ndarray


@dataclass(frozen=True)
class Work:
    """What a benchmark does with a batch of cases. ``kept``: where pictures are kept, or None."""

    model: Model
    measure: Measure
    seed: int = 0
    size: int | tuple[int, int] | None = None
    kept: Path | None = None

    def rows(self, methods: Sequence[Method], batch: Sequence[Loaded]) -> Iterator[list[Row]]:
        """The rows of methods that share an inversion, one list a method (or case, on failures).

        Where a batch fails, its cases are tried one by one.
        """
        first = methods[0]
        if first.inversion is None:
            yield from ([self.untouched(method, one) for one in batch] for method in methods)
            return
        code, cost, why = self.tried(lambda model: self.inverted(model, first, batch))
        if code is None:
            yield from self.again(methods, batch, why)
            return
        for method in methods:
            work = partial(self.edited, method=method, batch=batch, code=code)
            result, own, why = self.tried(work)
            if result is None:
                yield from self.again([method], batch, why)
            else:
                yield self.told(method, batch, (code, result), (cost, own))

    def tried(self, work: Callable[[Any], Any]) -> tuple[Any, Cost, str]:
        """What work returns and took, or None and why it failed."""
        try:
            return *costing(self.model, work), ""
        except Exception as error:  # one case's failure must not lose the others
            return None, Cost(), reason(error)

    def again(
        self, methods: Sequence[Method], batch: Sequence[Loaded], why: str
    ) -> Iterator[list[Row]]:
        """The cases of a batch that failed one by one; of a single case, failed rows."""
        if len(batch) == 1:
            yield [failed(self.seed, method, batch[0].case, why) for method in methods]
            return
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()  # memory may be what it failed for
        for one in batch:
            yield from self.rows(methods, [one])

    def inverted(self, model: Any, method: Method, batch: Sequence[Loaded]) -> Code:
        """The code of a batch; every image has its own seed, so that its neighbours are nothing."""
        return invert(
            model,
            [one.pixels for one in batch],
            [one.case.source for one in batch],
            method.inversion,
            steps=method.settings.steps,
            guidance=method.settings.source_guidance,
            seed=[one.case.seed(self.seed) for one in batch],
            size=self.size,
        )

    def edited(self, model: Any, method: Method, batch: Sequence[Loaded], code: Code) -> Result:
        """A batch's edits; the fresh noise that some codes leave is of each image's own seed."""
        masks = [method.mask(one.case) for one in batch]
        return edit(
            model,
            code,
            [one.case.target for one in batch],
            guidance=method.settings.guidance,
            editor=method.control(batch[0].case),
            mask=masks if method.settings.mask == OWN else masks[0],
            seed=[one.case.seed(self.seed) for one in batch],
        )

    def told(
        self,
        method: Method,
        batch: Sequence[Loaded],
        done: tuple[Code, Result],
        costs: tuple[Cost, Cost],
    ) -> list[Row]:
        """The rows of a batch of edits."""
        (code, result), (before, after), count = done, costs, len(batch)
        peaks = [cost.memory for cost in costs if cost.memory is not None]
        masks = [None] * count if method.settings.mask == OWN else masks_of(result, count)
        out = []
        for index, one in enumerate(batch):
            row = replace(
                head(self.seed, method, one.case),
                steps=code.steps,
                guidance=result.record["guidance"],
                source_guidance=code.guidance,
                batch=count,
                seconds_inversion=before.seconds / count,
                seconds_edit=after.seconds / count,
                evaluations_inversion=before.evaluations / count,
                evaluations_edit=after.evaluations / count,
                memory_mb=max(peaks) if peaks else None,
            )
            record = own_record(result.record_of(index), index, method.mask(one.case))
            picture = np.asarray(result.images[index])
            out.append(self.measured(row, one.case, picture, masks[index], record))
        return out

    def untouched(self, method: Method, one: Loaded) -> Row:
        """The row of an edit that does nothing: the input itself, or the autoencoder's."""
        row = replace(head(self.seed, method, one.case), seconds_inversion=0.0)
        row = replace(row, evaluations_inversion=0.0, evaluations_edit=0.0)
        picture, cost = one.pixels, Cost()
        if method.name == "autoencoder":
            picture, cost, why = self.tried(lambda model: autoencoded(model, one.pixels, self.size))
            if picture is None:
                return failed(self.seed, method, one.case, why)
        row = replace(row, seconds_edit=cost.seconds, memory_mb=cost.memory)
        record = plain_record(self.model, method.name, one.pixels)
        return self.measured(row, one.case, picture, None, record)

    def measured(
        self,
        row: Row,
        case: Case,
        picture: np.ndarray,
        mask: np.ndarray | None,
        record: dict[str, Any],
    ) -> Row:
        """A row with its metrics, and its picture kept."""
        if self.kept is not None:
            name = f"pictures/{slug(row.method)}/{slug(row.id)}.png"
            save_png(self.kept / name, picture, record, force=True)
            row = replace(row, picture=name)
        try:
            found = self.measure(case, picture, mask)
            metrics = {k: None if v is None else float(v) for k, v in found.items()}
            if taken := metrics.keys() & set(COLUMNS):
                raise InputError(f"a metric cannot be called {min(taken)}: rows have that column")
        except Exception as error:  # the picture is there: only its figures are not
            return replace(row, status="failed", reason=f"while measuring: {reason(error)}")
        return replace(row, metrics=metrics)


def head(seed: int, method: Method, case: Case) -> Row:
    """What is known of a row before anything runs."""
    plain, own = method.inversion is None, method.settings
    return Row(
        id=case.id,
        method=method.name,
        kind=case.kind,
        inversion="" if plain else describe(method.inversion),
        editor="" if method.editor is None else describe(method.editor),
        mask=own.mask or "",
        steps=own.steps,
        guidance=own.guidance,
        source_guidance=own.source_guidance,
        seed=case.seed(seed),
    )


def failed(seed: int, method: Method, case: Case, why: str) -> Row:
    """The row of a case that a method could not edit."""
    return replace(head(seed, method, case), status="failed", reason=why)
