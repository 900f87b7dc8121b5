"""Records of a job: one a row, in Parquet files that are its journal as well.

records/part-GROUP-ATTEMPT.parquet   a group's records, written when its pictures are all there
records/shard-NUMBER.parquet         the parts of 256 groups, put together when none is missing

A part appears whole or not at all. A group without one is run (again), a group with one never is:
that is all that a restart has to know. Where a row is there twice, the later attempt counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from io import BytesIO
from typing import Any

from noisespace.batch.stores import Store
from noisespace.errors import InputError

FOLDER = "records"
TRIES = 3  # readings of a journal that somebody writes
SPAN = 256  # groups of a shard
REQUESTS = 16  # side by side
PART = re.compile(r"part-(\d{8})-(\d{3})\.parquet")
SHARD = re.compile(r"shard-(\d{6})\.parquet")


@dataclass(frozen=True)
class Record:
    """What became of one row.

    ``status``: "ok", or "failed" for a ``reason``; ``pictures``, ``code``: files under the job's
    folder, a picture a target; ``image_digest``: sha256 of the pixels; ``batch``: how many images
    ran together; ``seconds``, network ``evaluations``: the row's share of its batch; ``metrics``:
    name -> a value a target.
    """

    id: str
    line: int
    group: int
    attempt: int
    image: str
    source: str
    targets: list[str]
    mask: str | None
    seed: int
    method: str
    editor: str | None
    guidance: float | None
    source_guidance: float | None
    steps: int | None
    status: str = "ok"
    reason: str = ""
    pictures: list[str] = field(default_factory=list)
    code: str | None = None
    image_digest: str | None = None
    width: int | None = None
    height: int | None = None
    batch: int | None = None
    seconds: float | None = None
    evaluations: float | None = None
    metrics: dict[str, list[float | None]] = field(default_factory=dict)


def arrow() -> Any:
    """pyarrow and its Parquet."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise InputError("batch jobs need pyarrow; install noisespace[batch]") from None
    return pyarrow


def schema() -> Any:
    pa = arrow()
    texts, numbers = pa.string(), pa.int64()
    kinds: dict[str, Any] = dict.fromkeys(Record.__dataclass_fields__, texts)
    kinds |= dict.fromkeys(("line", "group", "attempt", "seed", "steps", "batch"), numbers)
    kinds |= dict.fromkeys(("width", "height"), numbers)
    kinds |= dict.fromkeys(("guidance", "source_guidance"), pa.float64())
    kinds |= dict.fromkeys(("seconds", "evaluations"), pa.float64())
    kinds |= dict.fromkeys(("targets", "pictures"), pa.list_(texts))
    kinds["metrics"] = pa.map_(texts, pa.list_(pa.float64()))
    return pa.schema(list(kinds.items()))


class GoneError(InputError):
    """A file of records that was listed is not there any more."""


def parquet(table: Any) -> bytes:
    buffer = BytesIO()
    arrow().parquet.write_table(table, buffer)
    return buffer.getvalue()


def write_part(store: Store, group: int, attempt: int, records: Sequence[Record]) -> None:
    """A group's records: from here on the group is done."""
    rows = [asdict(one) for one in records]
    for row in rows:
        row["metrics"] = list(row["metrics"].items())
    table = arrow().Table.from_pylist(rows, schema())
    store.put(f"{FOLDER}/part-{group:08d}-{attempt:03d}.parquet", parquet(table))


def read_file(store: Store, name: str, columns: list[str] | None = None) -> Any:
    """One file of records as a table. InputError for a damaged one."""
    pa, data = arrow(), store.get(f"{FOLDER}/{name}")
    if data is None:
        raise GoneError(f"{store.name}/{FOLDER}/{name}: has gone while the job was read; try again")
    try:
        # its threads, which may outlive a short process, would abort it at its end
        options = {"use_threads": False, "pre_buffer": False}
        return pa.parquet.read_table(BytesIO(data), columns=columns, **options)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{store.name}/{FOLDER}/{name}: cannot be read ({str(error).splitlines()[0]}); remove "
            "it, and start the job again: its rows are then made again"
        ) from None


def files(store: Store) -> list[str]:
    """Shards, then parts by group and attempt: of a row, the last one read counts."""
    names = store.list(FOLDER)
    return [n for n in names if SHARD.fullmatch(n)] + [n for n in names if PART.fullmatch(n)]


@dataclass(frozen=True)
class Known:
    """What the journal holds: groups that are done, their last attempt, and rows that failed."""

    attempts: dict[int, int]
    failed: dict[int, list[str]]
    done: int
    seconds: float = 0.0

    @property
    def failures(self) -> int:
        return sum(map(len, self.failed.values()))


def known(store: Store) -> Known:
    """Reads the journal (the few columns that a restart needs), also while a job writes it."""
    for left in reversed(range(TRIES)):
        try:
            return _known(store)
        except GoneError:  # a part went into a shard between the listing and the reading
            if not left:
                raise
    raise AssertionError("unreachable")


def _known(store: Store) -> Known:
    rows: dict[str, tuple[int, int, bool, float]] = {}
    attempts: dict[int, int] = {}
    columns = ["id", "group", "attempt", "status", "seconds"]
    for name in files(store):
        for row in read_file(store, name, columns).to_pylist():
            group, attempt = row["group"], row["attempt"]
            attempts[group] = max(attempt, attempts.get(group, 0))
            if row["id"] not in rows or attempt >= rows[row["id"]][1]:
                bad, took = row["status"] != "ok", row["seconds"] or 0.0
                rows[row["id"]] = (group, attempt, bad, took)
    failed: dict[int, list[str]] = {}
    for name, (group, _, bad, _) in rows.items():
        if bad:
            failed.setdefault(group, []).append(name)
    return Known(attempts, failed, len(rows), sum(row[3] for row in rows.values()))


def compact(store: Store, groups: int) -> None:
    """Puts the parts of each span of groups together where none is missing.

    A shard is written before its parts go; a stop in between leaves rows twice, which read as once.
    """
    held: dict[int, list[str]] = {}
    for name in store.list(FOLDER):
        if found := PART.fullmatch(name):
            held.setdefault(int(found[1]) // SPAN, []).append(name)
    for span, some in held.items():
        whole = set(range(span * SPAN, min(groups, (span + 1) * SPAN)))
        shard = f"shard-{span:06d}.parquet"
        tables = [read_file(store, shard)] if store.has(f"{FOLDER}/{shard}") else []
        present = {int(PART.fullmatch(name)[1]) for name in some}  # type: ignore[index]
        present |= {group for table in tables for group in table["group"].to_pylist()}
        if whole - present:
            continue
        with ThreadPoolExecutor(REQUESTS) as pool:  # a bucket answers each in its own time
            tables += pool.map(lambda name: read_file(store, name), some)
            store.put(f"{FOLDER}/{shard}", parquet(latest(tables)))
            list(pool.map(lambda name: store.remove(f"{FOLDER}/{name}"), some))


def latest(tables: Sequence[Any]) -> Any:
    """Tables as one, each row once: its last attempt, by group and id."""
    whole = arrow().concat_tables(tables)
    columns = [whole[name].to_pylist() for name in ("group", "id", "attempt")]
    last: dict[tuple[int, str], tuple[int, int]] = {}
    for at, (group, name, attempt) in enumerate(zip(*columns, strict=True)):
        last[group, name] = max(last.get((group, name), (0, 0)), (attempt, at))
    return whole.take([at for _, (_, at) in sorted(last.items())])


def read_records(store: Store) -> Iterator[dict[str, Any]]:
    """The records of a job as plain rows, each once, span by span so that memory stays small."""
    spans: dict[int, list[str]] = {}
    for name in files(store):
        part, shard = PART.fullmatch(name), SHARD.fullmatch(name)
        span = int(part[1]) // SPAN if part else int(shard[1])  # type: ignore[index]
        spans.setdefault(span, []).append(name)
    for _, some in sorted(spans.items()):
        for row in latest([read_file(store, name) for name in some]).to_pylist():
            yield {**row, "metrics": dict(row["metrics"])}
