"""Outputs: checked before any work is done, written at its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisespace.cli.outcome import Clock
from noisespace.errors import InputError


def numbered(out: Path, count: int) -> list[Path]:
    """``out.png``, or ``out-1.png``, ``out-2.png`` ... for several pictures."""
    if count == 1:
        return [out]
    return [out.with_name(f"{out.stem}-{i + 1}{out.suffix}") for i in range(count)]


def check_outputs(
    pictures: Sequence[Path | None],
    others: Sequence[Path | None] = (),
    *,
    inputs: Sequence[Path | None] = (),
    force: bool = False,
) -> None:
    """Raises InputError where an output is no PNG's name, exists, cannot be written, or is twice.

    No output may be one of the ``inputs``, not even with ``force``.
    """
    from noisespace.pictures.metadata import check_png
    from noisespace.system.files import check_writable

    read = {p.resolve() for p in inputs if p}
    taken: set[Path] = set()
    for path in filter(None, pictures):
        check_png(path, force=force)
    for path in filter(None, others):
        check_writable(path, force=force)
    for path in filter(None, [*pictures, *others]):
        if path.resolve() in read:
            raise InputError(f"{path}: is the input too; choose another name for the output")
        if path.resolve() in taken:
            raise InputError(f"{path}: is named for two outputs; choose different names")
        taken.add(path.resolve())


@dataclass(frozen=True)
class Writes:
    """Where an edit's outputs go."""

    pictures: list[Path]
    record: Path
    sheet: Path | None
    code: Path | None
    force: bool

    def named(self) -> list[str]:
        """The outputs that were asked for."""
        return [str(p) for p in [*self.pictures, self.record, self.sheet, self.code] if p]

    def check(self, inputs: list[Path | None]) -> None:
        """Raises InputError where an output cannot be written."""
        pictures, others = [*self.pictures, self.sheet], [self.record, self.code]
        check_outputs(pictures, others, inputs=inputs, force=self.force)


def write(writes: Writes, result: Any, code: Any, clock: Clock) -> dict[str, Any]:
    """Writes pictures, code and JSON; returns the JSON's document."""
    from noisespace.pictures.metadata import save_png
    from noisespace.system.files import write_json

    for i, path in enumerate(writes.pictures):
        save_png(path, result.images[i], result.record_of(i), force=writes.force)
    if writes.code:
        code.save(writes.code, force=writes.force)
    pictures = [
        {"path": str(path), "record": result.record_of(i)} for i, path in enumerate(writes.pictures)
    ]
    document = {
        "pictures": pictures,
        "sheet": str(writes.sheet) if writes.sheet else None,
        "code": str(writes.code) if writes.code else None,
        "seconds": clock.all(),
    }
    write_json(writes.record, document, force=writes.force)
    return document


def save_sheet(path: Path, rows: Sequence[Sequence[Any]], title: str, force: bool) -> None:
    """A labelled contact sheet as PNG."""
    from noisespace.pictures.metadata import save_png
    from noisespace.pictures.sheet import sheet

    save_png(path, sheet(rows, title), force=force)


def psnr(a: Any, b: Any) -> float:
    """Peak signal-to-noise ratio of two pictures in dB; 100 where they are equal."""
    import numpy as np

    x, y = (np.asarray(p, dtype=np.float64) for p in (a, b))
    if x.shape != y.shape:
        raise InputError(f"pictures of {x.shape} and {y.shape} pixels cannot be compared")
    mse = float(((x - y) ** 2).mean())
    return 100.0 if mse == 0 else round(min(100.0, 10 * math.log10(255**2 / mse)), 2)


def latent_error(latents: Any, code: Any) -> float:
    """The largest difference of a replay's latents from the source's own."""
    return float((latents - code.path[-1]).abs().max())
