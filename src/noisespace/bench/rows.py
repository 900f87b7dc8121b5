"""Rows of a benchmark in a folder: Parquet parts that are written as they come, and read again.

OUT/bench.json                 what the rows are about: settings, model, data
OUT/rows/part-00001.parquet    rows, a part every so often, each written whole or not at all
OUT/pictures/METHOD/CASE.png   edited pictures with their records, where they are kept
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from io import BytesIO
from pathlib import Path
from typing import Any

from noisespace.errors import InputError
from noisespace.system.files import remove_leftovers, write_bytes, write_json

FORMAT = 1


@dataclass(frozen=True)
class Row:
    """One case under one method.

    ``id``, ``kind``: of the case; ``method``: as it was written, ``inversion`` and ``editor`` what
    that means; ``guidance``, ``source_guidance``, ``steps``: as used, None where nothing ran;
    ``seed``: the case's own; ``batch``: how many cases ran together. Seconds, and evaluations of
    the network (forwards), are a case's share of its batch; an inversion that several methods share
    is told in each of their rows. ``memory_mb``: the batch's (see ``Cost``). ``status``:
    "ok", or "failed" for a ``reason``; ``picture``: its file under OUT, where pictures are kept.
    """

    id: str
    method: str
    kind: str = ""
    inversion: str = ""
    editor: str = ""
    mask: str = ""
    steps: int | None = None
    guidance: float | None = None
    source_guidance: float | None = None
    seed: int = 0
    batch: int = 1
    seconds_inversion: float | None = None
    seconds_edit: float | None = None
    evaluations_inversion: float | None = None
    evaluations_edit: float | None = None
    memory_mb: float | None = None
    status: str = "ok"
    reason: str = ""
    picture: str = ""
    metrics: Mapping[str, float | None] = field(default_factory=dict)

    def flat(self) -> dict[str, Any]:
        """The row as one mapping: metrics beside the other columns."""
        return {**{name: getattr(self, name) for name in COLUMNS}, **self.metrics}


COLUMNS = tuple(f.name for f in fields(Row) if f.name != "metrics")
INTEGERS = ("steps", "seed", "batch")
TEXTS = (
    *("id", "method", "kind", "inversion", "editor", "mask"),
    *("status", "reason", "picture"),
)


def arrow() -> Any:
    """pyarrow and its Parquet, which only benchmarks need."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise InputError("a benchmark needs pyarrow; install noisespace[bench]") from None
    return pyarrow


class Parts:
    """Rows on their way to a folder: a part is written every ``count`` rows or ``seconds``."""

    def __init__(self, folder: Path, count: int = 64, seconds: float = 10.0) -> None:
        self._folder, self._count, self._seconds = folder, count, seconds
        self._rows: list[Row] = []
        self._since = time.monotonic()
        numbers = [int(path.stem.rpartition("-")[2]) for path in part_files(folder)]
        self._next = max(numbers, default=0) + 1

    def add(self, rows: Sequence[Row]) -> None:
        """Takes rows, and writes a part where it is time to."""
        self._rows += rows
        waited = time.monotonic() - self._since
        if len(self._rows) >= self._count or waited >= self._seconds:
            self.flush()

    def flush(self) -> None:
        """Writes what is held, as one part."""
        self._since = time.monotonic()
        if not self._rows:
            return
        path = self._folder / f"part-{self._next:05d}.parquet"
        write_bytes(path, parquet(self._rows))  # refuses to overwrite: another run's part
        self._rows, self._next = [], self._next + 1


def parquet(rows: Sequence[Row]) -> bytes:
    """Rows as a Parquet file: the fixed columns, then every metric that some row has."""
    pa = arrow()
    names = list(dict.fromkeys(name for row in rows for name in row.metrics))
    kinds = {name: pa.float64() for name in (*COLUMNS, *names)}
    kinds |= {name: pa.int64() for name in INTEGERS} | {name: pa.string() for name in TEXTS}
    table = pa.Table.from_pylist([row.flat() for row in rows], pa.schema(list(kinds.items())))
    buffer = BytesIO()
    pa.parquet.write_table(table, buffer)
    return buffer.getvalue()


def part_files(folder: Path) -> list[Path]:
    """The parts of a folder, in the order in which they were written."""
    return sorted(folder.glob("part-[0-9]*.parquet"))


def read_table(out: str | Path) -> Any:
    """The rows of a benchmark's folder as one pyarrow table; metrics that a part lacks are null."""
    pa, folder = arrow(), Path(out) / "rows"
    tables = []
    for path in part_files(folder):
        try:
            # its threads, which may outlive a short process, would abort it at its end
            options = {"use_threads": False, "pre_buffer": False}
            tables.append(pa.parquet.read_table(BytesIO(path.read_bytes()), **options))
        except (OSError, pa.ArrowException) as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"{path}: cannot be read ({reason}); remove it, and run the benchmark again"
            ) from None
    return pa.concat_tables(tables, promote_options="default") if tables else None


def read_rows(out: str | Path) -> list[dict[str, Any]]:
    """The rows of a benchmark's folder, in the order in which they were written.

    Of a case and method that were tried again, the last row counts.
    """
    table = read_table(out)
    rows = [] if table is None else table.to_pylist()
    return list({(row["id"], row["method"]): row for row in rows}.values())


def open_run(out: Path, about: Mapping[str, Any]) -> None:
    """Makes a run's folder, or goes on with the one that is there, which may get more methods.

    Raises InputError for a folder of something else, and of a run with other settings.
    """
    arrow()
    about = json.loads(json.dumps({"format": FORMAT, **about}))  # as it will be read
    path = out / "bench.json"
    if path.exists():
        known = same_run(path, about)["methods"]
        more = [method for method in about["methods"] if method not in known]
        if more:
            write_json(path, {**about, "methods": known + more}, force=True)
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists and holds no benchmark; name another folder")
    else:
        write_json(path, about)
    (out / "rows").mkdir(exist_ok=True)
    remove_leftovers(out / "rows")


def same_run(path: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's folder is about; InputError where that is something else.

    Its methods may be others, for a row says which it is of; but none of another meaning.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        keys = sorted((found.keys() | about.keys()) - {"methods"})
        own = {method["method"]: method for method in found["methods"]}
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        raise InputError(f"{path}: is damaged; name another folder") from None
    for key in keys:
        if found.get(key) != about.get(key):
            before, now = (short(one.get(key)) for one in (found, about))
            raise InputError(
                f"{path}: was made with {key} {before}, now it is {now}; go on with the former or "
                "name another folder"
            )
    for method in about["methods"]:
        if own.get(method["method"], method) != method:
            raise InputError(
                f"{path}: means something else by {method['method']!r}; name another folder"
            )
    return found


def short(value: Any) -> str:
    """A setting for a sentence."""
    text = json.dumps(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
