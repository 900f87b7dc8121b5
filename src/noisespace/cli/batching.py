"""``noisespace batch``: every row of a manifest edited, however often the job is interrupted."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass
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
    engine: Annotated[
        str, typer.Option("--engine", help="local, or ray (a cluster; needs noisespace[ray]).")
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, max=1024, help="Processes (default: one a GPU, or one a core)."
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option("--threads", min=1, max=256, help="Threads of each worker.")
    ] = 1,
    gpus: Annotated[
        float | None,
        typer.Option("--gpus", min=0, max=16, help="ray: GPUs an actor; 0.5 lets two share one."),
    ] = None,
    actors: Annotated[
        str | None,
        typer.Option("--actors", help="ray: how many, as MIN:MAX, between which it scales."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option("--address", help="ray: of a cluster (default: RAY_ADDRESS, or its own)."),
    ] = None,
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
    settings |= {"threads": threads}
    chosen = Engines(engine, workers, gpus, actors, address)
    chosen.check()
    job = Job(model, dtype, device, **settings)
    loaded = o.load_model(model, dtype, "cpu" if engine == "ray" else device)
    if out is None or dry_run:
        from noisespace.batch.price import price

        made = price(groups_of(found.items, job), job, loaded)
        return finish(asdict(made), [made.words()], as_json)
    from noisespace.batch.run import Place, Stop, run_job, stopping

    place = Place.of(out, pictures)
    options: dict[str, Any] = {"force": force, "retry": retry_failed}
    options["engine"] = chosen.made(job, place, loaded, len(found.items), retry_failed)
    with stopping(Stop(), say) as stop, clock.on("run"), progress("rows") as show:
        tally = run_job(found, job, loaded, place, stop=stop, progress=show, **options)
    ended(out, tally, len(found.items), clock, as_json)


@dataclass(frozen=True)
class Engines:
    """Who does the work, as the options have it."""

    name: str
    workers: int | None
    gpus: float | None
    actors: str | None
    address: str | None

    def check(self) -> None:
        """Raises InputError for options that do not go together, before a model is loaded."""
        if self.name not in ("local", "ray"):
            raise InputError(f"--engine must be local or ray, got {self.name!r}")
        if self.name == "ray":
            from noisespace.batch.cluster import ray_of

            if self.workers is not None:
                raise InputError("--workers is of the local engine; use --actors MIN:MAX with ray")
            self.pool()
            ray_of()
        elif any(v is not None for v in (self.gpus, self.actors, self.address)):
            raise InputError("--gpus, --actors and --address are for --engine ray")

    def pool(self) -> tuple[int, int | None]:
        """--actors as the least and the most."""
        if self.actors is None:
            return 1, None
        ends = self.actors.split(":")
        if len(ends) > 2 or not all(e.isascii() and e.isdigit() and int(e) for e in ends):
            raise InputError(f"--actors must be MIN:MAX, such as 2:8, got {self.actors!r}")
        least, most = int(ends[0]), int(ends[-1])
        if least > most:
            raise InputError(f"--actors must be MIN:MAX with MIN <= MAX, got {self.actors!r}")
        return least, most

    def made(self, job: Any, place: Any, model: Any, rows: int, again: bool) -> Any:
        """The engine; None is this process alone."""
        from noisespace.batch.worker import Order, usual_workers

        # workers elsewhere have another working directory
        shelf = place.shelf.place if "://" in place.shelf.place else Path(place.shelf.place)
        pictures = str(shelf.absolute() if isinstance(shelf, Path) else shelf)
        order = Order(job, place.out.absolute(), pictures, uuid.uuid4().hex, again)
        if self.name == "ray":
            from noisespace.batch.cluster import Cluster

            return Cluster(order, *self.pool(), self.gpus or 0.0, self.address)
        groups = -(-rows // job.batch)
        count = self.workers or usual_workers(model.device, groups)
        if count == 1:
            return None
        from noisespace.batch.pool import Pool

        kind = str(model.device)
        devices = devices_of(kind, count)
        say(f"workers: {count}, on {', '.join(devices)}")
        return Pool(order, count, devices)


def devices_of(kind: str, count: int) -> tuple[str, ...]:
    """Where the workers run: over all GPUs in turn where none was named."""
    if kind != "cuda":
        return (kind,)
    import torch

    return tuple(f"cuda:{i % torch.cuda.device_count()}" for i in range(count))


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
