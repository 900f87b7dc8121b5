"""Records of a batch job: a Parquet shard a group, whose being there says that the group is done.

OUT/job.json                        what the rows are about
OUT/rows/group-0000001.parquet      a row an image, written whole after its pictures
OUT/pictures/ab/abcd....png         by the sha256 of their bytes, with their records inside
OUT/codes/ab/abcd....safetensors    where codes are kept
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Any

from noisespace.batch.manifest import arrow
from noisespace.errors import InputError
from noisespace.files import remove_leftovers, write_bytes, write_json

FORMAT = 1


@dataclass(frozen=True)
class Row:
    """What became of one row of the manifest.

    ``status``: "ok", or "failed" for a ``reason``; ``pictures``: one a target, below the place of
    the outputs; ``psnr``: of each picture to its input, dB; ``batch``: how many images ran
    together; ``seconds``: the row's share of its batch; ``evaluations``: the same of the network's.
    """

    id: str
    status: str = "ok"
    reason: str = ""
    image: str = ""
    source: str = ""
    targets: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()
    code: str = ""
    method: str = ""
    editor: str = ""
    mask: str = ""
    steps: int | None = None
    guidance: float | None = None
    source_guidance: float | None = None
    seed: int = 0
    batch: int = 1
    psnr: tuple[float, ...] = ()
    evaluations: float | None = None
    seconds: float | None = None


def schema() -> Any:
    """The columns of a shard."""
    pa = arrow()
    lists = {"targets": pa.string(), "pictures": pa.string(), "psnr": pa.float64()}
    kinds = {name: pa.list_(kind) for name, kind in lists.items()}
    kinds |= dict.fromkeys(("steps", "seed", "batch"), pa.int64())
    reals = ("guidance", "source_guidance", "evaluations", "seconds")
    kinds |= dict.fromkeys(reals, pa.float64())
    return pa.schema([(f.name, kinds.get(f.name, pa.string())) for f in fields(Row)])


def write_shard(out: Path, name: str, rows: Sequence[Row]) -> None:
    """Writes a group's rows, whole or not at all."""
    pa, buffer = arrow(), BytesIO()
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema())
    pa.parquet.write_table(table, buffer)
    write_bytes(shard(out, name), buffer.getvalue(), force=True)


def write_group(out: Path, name: str, rows: Sequence[Row]) -> None:
    """Writes a group's shard; of one that was tried again, the rows that did not fail stay."""
    if done(out, name):
        made = {row.id: row for row in rows}
        rows = [made.get(row.id, row) for row in read_shard(shard(out, name))]
    write_shard(out, name, rows)


def read_shard(path: Path) -> list[Row]:
    """A group's rows. Raises InputError for a damaged file."""
    pa = arrow()
    try:
        table = pa.parquet.read_table(BytesIO(path.read_bytes()))
        return [Row(**{**row, **tuples(row)}) for row in table.to_pylist()]
    except (OSError, pa.ArrowException, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: cannot be read ({reason}); remove it and run again") from None


def tuples(row: Mapping[str, Any]) -> dict[str, tuple]:
    """The lists of a row as a Row has them."""
    return {name: tuple(row[name] or ()) for name in ("targets", "pictures", "psnr")}


def read_rows(out: Path) -> Iterator[Row]:
    """Every row that is there, group by group: a million are never held at once."""
    for path in sorted((out / "rows").glob("group-*.parquet")):
        yield from read_shard(path)


def shard(out: Path, name: str) -> Path:
    """Where a group's rows are."""
    return out / "rows" / f"{name}.parquet"


def done(out: Path, name: str) -> bool:
    """Whether a group is done."""
    return shard(out, name).exists()


def check_folder(out: Path) -> None:
    """Raises InputError where a folder holds something else than a batch job."""
    if (out / "job.json").exists() or not out.exists():
        return
    if not out.is_dir() or any(path.name != ".lock" for path in out.iterdir()):
        raise InputError(f"{out}: exists and holds no batch job; name another folder")


def open_job(out: Path, about: Mapping[str, Any], force: bool) -> None:
    """Makes a job's folder, or goes on with the one that is there.

    Raises InputError for a job of another manifest or other settings, whose rows ``force`` throws
    away.
    """
    about = json.loads(json.dumps({"format": FORMAT, **about}))  # as it will be read
    path = out / "job.json"
    found = read_job(out) if path.exists() else None
    if found is not None and found != about:
        key = next(k for k in sorted({*found, *about}) if found.get(k) != about.get(k))
        if not force:
            raise InputError(
                f"{out}: holds a job whose {key} was {short(found.get(key))}, now it is "
                f"{short(about.get(key))}; name another folder, or throw its rows away with --force"
            )
        for old in (out / "rows").glob("group-*.parquet"):
            old.unlink()
    (out / "rows").mkdir(parents=True, exist_ok=True)
    for folder in (out, out / "rows", *out.glob("pictures/*"), *out.glob("codes/*")):
        remove_leftovers(folder)
    shutil.rmtree(out / "tries", ignore_errors=True)
    write_json(path, about, force=True)


def read_job(out: Path) -> dict[str, Any]:
    """What a job's folder is about. Raises InputError where it holds none."""
    try:
        return dict(json.loads((out / "job.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(f"{out}: holds no batch job (no job.json)") from None
    except (OSError, ValueError, TypeError):
        raise InputError(f"{out}/job.json: is damaged; name another folder") from None


def short(value: Any) -> str:
    """A setting for a sentence."""
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
