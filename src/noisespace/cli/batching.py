"""``noisespace batch``: every row of a manifest edited, on this machine or on a Ray cluster."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from noisespace.cli import options as o
from noisespace.cli.batch_telling import tell_price, tell_status, telling
from noisespace.cli.outcome import (
    BAD_INPUT,
    DONE,
    FAILED,
    INTERRUPTED,
    Clock,
    finish,
    say,
)
from noisespace.cli.starting import begun
from noisespace.errors import InputError

if TYPE_CHECKING:
    from noisespace.batch.job import Outcome
    from noisespace.batch.local import Order
    from noisespace.batch.manifest import ManifestError
    from noisespace.batch.plan import Plan

ENGINES = ("local", "ray")


def batch(
    manifest: Annotated[
        str | None,
        typer.Argument(
            help="JSONL, CSV or Parquet of id, image, source, target (one or a list), and mask, "
            "seed, method, editor, guidance, source_guidance, steps, size where a row has its own."
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", "-o", help="The job's folder: a path or a URL (s3://).")
    ] = None,
    status: Annotated[
        str | None, typer.Option("--status", metavar="DIR", help="Only tell how far a job is.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check all, price the job by a probe, run nothing.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again the rows that failed before.")
    ] = False,
    method: o.Method = "edit-friendly",
    editor: o.Editor = None,
    steps: o.Steps = None,
    guidance: o.Guidance = None,
    source_guidance: o.SourceGuidance = None,
    size: o.Size = None,
    seed: o.Seed = 0,
    metrics: Annotated[
        str | None, typer.Option("--metrics", help="Metrics to take, such as psnr,ssim.")
    ] = None,
    codes: Annotated[bool, typer.Option("--codes", help="Keep the codes as well.")] = False,
    images: Annotated[
        int, typer.Option("--batch", min=1, max=4096, help="Images that run together.")
    ] = 8,
    engine: Annotated[str, typer.Option("--engine", help="local or ray.")] = "local",
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Models side by side (default: a core or device)."),
    ] = None,
    threads: Annotated[
        int, typer.Option("--threads", min=1, help="Threads of each worker on a CPU.")
    ] = 1,
    gpus: Annotated[
        float | None, typer.Option("--gpus", min=0, help="Of a worker on Ray: .5, 1 (default: 1).")
    ] = None,
    model: o.Model = "scenes",
    dtype: o.Dtype = "auto",
    device: o.Device = "auto",
    preset: o.Preset = None,
    compiled: o.Compile = False,
    offload: o.Offload = None,
    cache: o.Cache = None,
    tiling: o.Tiling = False,
    quantize: o.Quantize = None,
    lora: o.Lora = None,
    embedding: o.Embedding = None,
    vae: o.Vae = None,
    prediction: o.Prediction = None,
    weights: o.Weights = None,
    clip_skip: o.ClipSkip = None,
    force: Annotated[
        bool, typer.Option("--force", help="Begin anew where OUT holds another job.")
    ] = False,
    as_json: o.Json = False,
) -> None:
    """Edits every row of a manifest; whatever stops it, the same command goes on.

    Rows that cannot be done are dead letters with a reason (OUT/failed.jsonl); then the exit code
    is 1. Ctrl-C finishes the batches in flight.
    """
    if status is not None:
        tell_status(status, as_json)
        return
    if manifest is None or (out is None and not dry_run):
        raise InputError("expected MANIFEST --out DIR, or --status DIR")
    if engine not in ENGINES:
        raise InputError(f"--engine must be local or ray, got {engine!r}")
    from noisespace.batch.local import Order, usual_workers
    from noisespace.batch.manifest import ManifestError
    from noisespace.batch.plan import Choice, Settings
    from noisespace.models.speed import Speed

    begun()
    o.parse_size(size)
    named = tuple(name.strip() for name in (metrics or "").split(",") if name.strip())
    choice = Choice(method, editor, guidance, source_guidance, steps, size)
    speed = Speed(dtype, preset, compiled, offload, cache, tiling, quantize)
    added = {"lora": lora, "embedding": embedding, "vae": vae, "prediction": prediction}
    added |= o.reading(weights, clip_skip, [])
    settings = Settings(model, speed, added, choice, seed, images, codes, named)
    default = usual_workers(device) if engine == "local" else 0  # Ray counts its own
    order = Order(out or "", settings, device, workers or default, threads, gpus)
    try:
        plan = checked(manifest, order, engine)
        if dry_run:
            tell_price(plan, order, as_json)
        else:
            run(plan, order, engine, as_json, force=force, retry=retry_failed)
    except ManifestError as error:
        refuse(manifest, error, as_json)


def checked(manifest: str, order: Order, engine: str) -> Plan:
    """The manifest in groups."""
    from noisespace.batch.job import planned
    from noisespace.batch.records import arrow

    arrow()  # what is missing is said before anything else is done
    if engine == "ray":
        from noisespace.batch.ray_cluster import import_ray

        import_ray()
    return planned(manifest, order.settings)


def refuse(manifest: str, error: ManifestError, as_json: bool) -> NoReturn:
    """Tells all the faults of a manifest, each on a line."""
    for fault in error.faults:
        say(fault)
    say(f"error: {manifest}: {len(error.faults)} faults, nothing was run")
    if as_json:
        document = {"error": str(error), "faults": error.faults, "exit_code": BAD_INPUT}
        typer.echo(json.dumps(document, ensure_ascii=False))
    raise typer.Exit(BAD_INPUT) from None


def run(plan: Plan, order: Order, engine: str, as_json: bool, **options: bool) -> None:
    """Runs the job and says how it ended."""
    from noisespace.batch.job import run_job

    clock = Clock()
    say(f"{plan.rows} rows in {len(plan.groups)} groups, engine {engine}")
    with clock.on("run"), telling() as tell:
        done = run_job(plan, order, engine, tell=tell, **options)
    document = document_of(order.out, done) | {"seconds": clock.all()}
    if done.halved:
        say(f"note: {done.halved} groups ran in halves for want of memory: try a smaller --batch")
    now = done.progress
    lines = [f"{now.done} of {now.total} rows done, {now.failed} failed: {order.out}"]
    lines += [f"{order.out}/{name}" for name in done.files]
    if done.stopped:
        flight = "finished" if engine == "local" else "cancelled"
        say(f"stopped: the batches in flight were {flight}; the same command goes on")
    code = INTERRUPTED if done.stopped else FAILED if now.failed else DONE
    finish(document, lines, as_json, code)


def document_of(out: str, done: Outcome) -> dict[str, Any]:
    now = done.progress
    return {
        "out": out,
        "rows": now.total,
        "done": now.done,
        "failed": now.failed,
        "fresh": now.fresh,
        "rows_per_second": round(now.rate, 4),
        "stopped": done.stopped,
        "halved": done.halved,
        "files": [f"{out}/{name}" for name in done.files],
    }
