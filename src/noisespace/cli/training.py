"""``noisespace train`` and ``noisespace models``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from noisespace.cli import options as o
from noisespace.cli.outcome import finish
from noisespace.cli.starting import begun
from noisespace.errors import InputError


def train(
    config: Annotated[
        str, typer.Argument(help="scenes, photos, smoke, night, gpu, or a JSON file of settings.")
    ],
    data: Annotated[
        str | None,
        typer.Option("--data", help="A folder of captioned images (metadata.jsonl, CSV, npz)."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The folder of the run (default: runs/NAME).")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint.")
    ] = False,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting, e.g. diffusion__steps=100; repeat for several."),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option("--only", help="alignment or classifier: that stage alone, to OUT/STAGE."),
    ] = None,
    snapshot: Annotated[
        bool,
        typer.Option("--snapshot", help="Train nothing: write OUT/model as a run now has it."),
    ] = False,
    as_json: o.Json = False,
) -> None:
    """Trains a model, evaluates it and writes it as a pipeline to OUT/model.

    Ctrl-C stops after the step; the same command with --resume goes on from there.
    """
    if only not in (None, "alignment", "classifier"):
        raise InputError(f'--only must be "alignment" or "classifier", got {only!r}')
    if snapshot and (only or resume):
        raise InputError("--snapshot trains nothing: leave out --only and --resume")
    overrides = dict(parse_setting(text) for text in setting or [])
    out = out or Path("runs") / (Path(data).resolve().name if data else Path(config).stem)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; expected a folder for the run")
    from transformers.utils import logging

    logging.set_verbosity_error()  # its advice on image processors that nothing here uses
    from noisespace.train.config import load_config
    from noisespace.train.finish import finish as publish
    from noisespace.train.finish import finish_alone, publish_snapshot
    from noisespace.train.processes import processes
    from noisespace.train.run import run, run_alone

    begun()
    load_config(config, data, **overrides)
    main = processes().is_main_process  # it alone writes and tells the end
    if snapshot:
        if main:
            document = {"model": publish_snapshot(out)}
            finish(document, [document["model"]], as_json)
        return
    if only:
        found = run_alone(only, config, out, resume, data, **overrides)
        if not main:
            return
        report = finish_alone(only, found, out)
        document, lines = {only: str(out / only)}, [str(out / only)]
    else:
        trained = run(config, out, resume, data, **overrides)
        if not main:
            return
        report = publish(trained, out, out / "model")
        document, lines = {"model": str(out / "model")}, [str(out / "model")]
    finish({**document, "report": report}, [*lines, json.dumps(report, indent=2)], as_json)


def parse_setting(text: str) -> tuple[str, Any]:
    """``stage__field=value``; the value is read as JSON where it is some, else as text."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip().isidentifier() or name in ("config", "data", "out", "resume"):
        raise InputError(f"--set expects stage__field=value, got {text!r}")
    try:
        return name.strip(), json.loads(value)
    except ValueError:
        return name.strip(), value


def models(as_json: o.Json = False) -> None:
    """Lists the embedded models."""
    from noisespace.models.loading import EMBEDDED

    found = [describe(name, folder) for name, folder in EMBEDDED.items()]
    lines = [
        f"{m['name']}: {m['title'] or 'not there'}, {m['megabytes']} MB, {m['path']}\n"
        f"  defaults: {json.dumps(m['defaults'])}"
        for m in found
    ]
    more = "a folder with a Stable Diffusion pipeline or a Hub id works as --model too"
    finish({"models": found}, [*lines, more], as_json)


def describe(name: str, folder: Path) -> dict[str, Any]:
    """What is known of an embedded model without loading it."""
    from noisespace.models.pipeline_folder import read_json

    notes = read_json(folder / "noisespace.json") if (folder / "noisespace.json").is_file() else {}
    bytes_ = sum(f.stat().st_size for f in folder.rglob("*.safetensors"))
    return {
        "name": name,
        "title": notes.get("title", ""),
        "size": notes.get("size"),
        "megabytes": round(bytes_ / 1e6, 1),
        "defaults": notes.get("defaults", {}),
        "path": str(folder),
    }
