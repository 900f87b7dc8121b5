"""``noisespace report``: every claim measured anew, judged by rule, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from noisespace.cli import options as o
from noisespace.cli.outcome import DONE, FAILED, Clock, finish, say
from noisespace.cli.study import told
from noisespace.errors import InputError


def report(
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the report.")],
    quick: Annotated[
        bool, typer.Option("--quick", help="Few pictures and steps: minutes instead of an hour.")
    ] = False,
    claims: Annotated[
        str | None, typer.Option("--claims", help="Some claims only, such as C1,C8.")
    ] = None,
    images: Annotated[
        int | None, typer.Option("--images", min=1, help="Pictures (default: each study's own).")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", min=1, max=64, help="Processes (default: one a core, 4 at most)."),
    ] = None,
    model: o.Model = "scenes",
    seed: o.Seed = 0,
    device: o.Device = "auto",
    force: Annotated[
        bool, typer.Option("--force", help="Throw the report of OUT away and begin anew.")
    ] = False,
    as_json: o.Json = False,
) -> None:
    """Writes OUT/index.html, claims.json and claims.csv, studies/ and methods/ with their figures.

    The same command goes on with a report that was stopped. A study that fails leaves its claims
    undecided, with the reason; then the exit code is 1.
    """
    from noisespace.report.claims import chosen
    from noisespace.report.order import Order
    from noisespace.report.run import check_folder, clear, make_report
    from noisespace.report.workers import usual

    clock, order = Clock(), Order(tuple(chosen(claims)), quick, images, seed, model)
    loaded = o.load_model(model, "float32", device)
    if force:
        clear(out)
    check_folder(out, loaded, order)
    kind = loaded.device.type
    if jobs and jobs > 1 and kind != "cpu":
        raise InputError(f"several processes share cores, not {kind}; leave --jobs out")
    try:
        made = make_report(loaded, order, out, told, jobs or usual(kind))
    except KeyboardInterrupt:
        say("what was measured so far is kept: the same command goes on")
        raise
    for name, why in made.failed.items():
        say(f"failed: {name}: {why}")
    document: dict[str, Any] = {
        "out": str(out),
        "page": str(out / "index.html"),
        "claims": [one.record() for one in made.verdicts],
        "failed": made.failed,
        "seconds": clock.all(),
    }
    lines = [f"{one.id}: {one.verdict} (n = {one.n})" for one in made.verdicts]
    finish(document, [*lines, str(out / "index.html")], as_json, FAILED if made.failed else DONE)
