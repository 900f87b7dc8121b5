"""``noisespace batch``: every row of a manifest edited, however often the job is interrupted."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from noisespace.cli import options as o
from noisespace.cli.outcome import DONE, FAILED, INTERRUPTED, Clock, finish, progress, say
from noisespace.errors import InputError


def batch(
    manifest: Annotated[
        str | None,
        typer.Argument(
            help="JSON lines, CSV or Parquet with id, image, source, target[, mask, seed, method, "
            "editor, guidance, source_guidance, steps]; a path or URL."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The job's folder.")] = None,
    pictures: Annotated[
        str | None,
        typer.Option(
            "--pictures", help="Where pictures and codes go: a folder or URL (default: OUT)."
        ),
    ] = None,
    method: o.Method = "edit-friendly",
    editor: o.Editor = None,
    model: o.Model = "scenes",
    steps: o.Steps = None,
    guidance: o.Guidance = None,
    source_guidance: o.SourceGuidance = None,
    size: o.Size = None,
    seed: o.Seed = 0,
    rows: Annotated[int, typer.Option("--batch", min=1, help="Images that run together.")] = 8,
    codes: Annotated[bool, typer.Option("--codes", help="Keep every image's code.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what the job would take.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again the rows that failed.")
    ] = False,
    status: Annotated[
        Path | None, typer.Option("--status", help="Only say how far the job of a folder is.")
    ] = None,
    dtype: o.Dtype = "float32",
    device: o.Device = "auto",
    force: Annotated[
        bool, typer.Option("--force", help="Throw away the rows of another job in OUT.")
    ] = False,
    as_json: o.Json = False,
) -> None:
    """Edits every row: OUT/rows (Parquet), OUT/pictures, OUT/index.html.

    Stopped or killed at any moment, the same command goes on, loses nothing and does nothing
    twice. Rows that fail say why in their record; then the exit code is 1.
    """
    if status is not None:
        if manifest is not None or out is not None:
            raise InputError("--status FOLDER stands alone: leave out the manifest and --out")
        return told_status(status, as_json)
    if manifest is None or (out is None and not dry_run):
        raise InputError("name a manifest and its folder: noisespace batch MANIFEST --out DIR")
    from noisespace.batch.job import Job, groups_of
    from noisespace.batch.manifest import read_manifest
    from noisespace.specs import parse_editor, parse_method

    clock = Clock()
    o.check_early(parse_method(method), steps, (guidance, source_guidance), [seed])
    if editor is not None:
        parse_editor(editor)
    found = read_manifest(manifest)
    settings: dict[str, Any] = {"method": method, "editor": editor or "", "steps": steps}
    settings |= {"guidance": guidance, "source_guidance": source_guidance}
    settings |= {"size": o.parse_size(size), "seed": seed, "batch": rows, "codes": codes}
    job = Job(model, dtype, device, **settings)
    loaded = o.load_model(model, dtype, device)
    if out is None or dry_run:
        from noisespace.batch.price import price

        made = price(groups_of(found.items, job), job, loaded)
        return finish(asdict(made), [made.words()], as_json)
    from noisespace.batch.run import Place, Stop, run_local, stopping

    place = Place.of(out, pictures)
    options: dict[str, Any] = {"force": force, "retry": retry_failed}
    with stopping(Stop(), say) as stop, clock.on("run"), progress("rows") as show:
        tally = run_local(found, job, loaded, place, stop=stop, progress=show, **options)
    ended(out, tally, len(found.items), clock, as_json)


def ended(out: Path, tally: Any, total: int, clock: Clock, as_json: bool) -> None:
    """Writes the page and says what there is."""
    from noisespace.batch.page import write_page

    page = write_page(out)
    for reason, count in sorted(tally.reasons.items(), key=lambda one: -one[1])[:20]:
        say(f"failed: {count} x {reason}")
    document = {
        "out": str(out),
        "rows": total,
        "done": tally.rows - tally.failed,
        "failed": tally.failed,
        "left": total - tally.rows,
        "made_now": tally.made,
        "images_per_second": round(tally.made / tally.seconds, 3) if tally.seconds else None,
        "page": str(page),
        "seconds": clock.all(),
    }
    words = f"{document['done']} done, {tally.failed} failed, {document['left']} left"
    if tally.failed:
        say("rows that failed are tried again with --retry-failed")
    code = INTERRUPTED if tally.stopped else FAILED if tally.failed else DONE
    finish(document, [words, str(page)], as_json, code)


def told_status(out: Path, as_json: bool) -> None:
    """How far a job is; it may be going on."""
    from noisespace.batch.records import read_job
    from noisespace.batch.run import summary_of

    job, tally = read_job(out), summary_of(out)
    total = int(job["manifest"]["rows"])
    document = {"out": str(out), "rows": total, "done": tally.rows - tally.failed}
    document |= {"failed": tally.failed, "left": total - tally.rows, "reasons": tally.reasons}
    words = f"{document['done']} of {total} rows done, {tally.failed} failed"
    told = [f"{count} x {reason}" for reason, count in tally.reasons.items()]
    finish(document, [words, *told], as_json)
