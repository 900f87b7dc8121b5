"""``noisespace bench``: methods on a data set of edits, measured, one row an image and method."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from noisespace.cli import options as o
from noisespace.cli.outcome import DONE, FAILED, Clock, finish, progress, say
from noisespace.cli.starting import begun
from noisespace.errors import InputError

METHODS = "nothing; autoencoder; ddim; negative-prompt; cycle-diffusion; edit-friendly"


def bench(
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the benchmark.")],
    data: Annotated[
        str,
        typer.Option(
            "--data",
            help="scenes, or a folder or file: PIE-Bench, ImageNet-R-TI2I, TEdBench, COCO "
            "captions, CSV or JSON lines of image, source, target[, mask, truth].",
        ),
    ] = "scenes",
    methods: Annotated[
        str,
        typer.Option(
            "--methods",
            help='Separated by ";", each INVERSION [+ EDITOR] [@ guidance=7.5,steps=50,mask=own].',
        ),
    ] = METHODS,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="How many cases (default: all).")
    ] = None,
    captions: Annotated[
        str,
        typer.Option("--captions", help="given; own or random to reconstruct under such prompts."),
    ] = "given",
    metrics: Annotated[
        str | None, typer.Option("--metrics", help="Names, separated by commas (default: most).")
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", help="The method that others are compared with.")
    ] = None,
    clip: Annotated[
        str | None, typer.Option("--clip", help="A CLIP's folder or Hub id, for CLIP scores.")
    ] = None,
    dino: Annotated[
        str | None, typer.Option("--dino", help="A DINO ViT's folder, for its structure distance.")
    ] = None,
    model: o.Model = "scenes",
    seed: o.Seed = 0,
    size: o.Size = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Cases that run together.")] = 8,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the edited pictures.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try again what failed before.")] = False,
    dtype: o.Dtype = "auto",
    device: o.Device = "auto",
    as_json: o.Json = False,
) -> None:
    """Scores methods on a data set: rows in OUT/rows (Parquet), OUT/summary.json, .csv and .md.

    The same command goes on with a run that was stopped. Failures are rows with a reason; then the
    exit code is 1.
    """
    from noisespace.bench.judges import Judges
    from noisespace.bench.methods import parse_lines
    from noisespace.bench.metrics import find
    from noisespace.bench.readers import read_cases
    from noisespace.bench.rows import read_rows
    from noisespace.bench.run import Plan, run_bench
    from noisespace.bench.scoring import Scoring, default_names
    from noisespace.bench.summary import summarise, table_main, write_summary

    clock, working = Clock(), o.parse_size(size)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; expected a folder for the benchmark")
    chosen = parse_lines([line for line in methods.split(";") if line.strip()])
    if against is not None and against not in [m.name for m in chosen]:
        raise InputError(f"--against must be one of the methods, got {against!r}")
    named = [] if metrics is None else [n.strip() for n in metrics.split(",") if n.strip()]
    for name in named:
        find(name)
    begun()  # a data set may have many images
    cases = read_cases(data, limit, seed, captions=known_captions(captions))
    loaded = o.load_model(model, dtype, device)
    towers = model if loaded.alignment_folder is not None else None
    judges = Judges(clip=clip, alignment=towers, dino=dino, device=str(loaded.device))
    check_named(judges)
    names = tuple(named) or default_names(cases, judges, min(cases[0].size()))
    scoring = Scoring(names, judges)
    missing = scoring.missing(cases[0])
    for name, reason in missing.items():
        say(f"note: {name}: {reason}")
    plan = Plan(seed, working, names, batch, keep, retry=retry)
    with clock.on("run"), progress("cases x methods") as show:
        done = run_bench(loaded, cases, chosen, scoring, out, plan, show)
    summary = summarise(read_rows(out), against, missing)
    paths = [str(path) for path in write_summary(summary, out)]
    document: dict[str, Any] = {"out": str(out), "rows": done.rows, "failed": done.failed}
    document |= {"unavailable": missing, "summary": paths[0], "seconds": clock.all()}
    for method, reasons in summary.failed.items():
        for reason, count in reasons.items():
            say(f"failed: {method}: {count} x {reason}")
    finish(document, [table_main(summary), *paths], as_json, FAILED if done.failed else DONE)


def check_named(judges: Any) -> None:
    """What is named must be there: only what nobody named may be missing."""
    for name, place, load in (
        ("--clip", judges.clip, lambda: judges.towers("clip")),
        ("--dino", judges.dino, judges.vit),
    ):
        if place is not None and place[:1] in "/.~" and not Path(place).expanduser().is_dir():
            raise InputError(f"{name} {place}: there is no such folder")
        try:
            if place is not None:
                load()
        except InputError as error:
            raise InputError(f"{name} {place}: {error}") from None


def known_captions(text: str) -> Any:
    """--captions as the reader has it."""
    if text not in ("given", "own", "random"):
        raise InputError(f"--captions must be given, own or random, got {text!r}")
    return text
