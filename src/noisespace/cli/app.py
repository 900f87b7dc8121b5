"""The commands by name. One module a group of commands; this one only puts them together."""

from __future__ import annotations

from typing import Annotated

import typer

from noisespace.cli import (
    attention,
    batching,
    benching,
    catalogue,
    comparing,
    demo,
    editing,
    inverting,
    reporting,
    sampling,
    serving,
    study,
    training,
)
from noisespace.cli.outcome import exits
from noisespace.version import VERSION

app = typer.Typer(
    help="Diffusion inversion and text-guided editing of real images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(VERSION)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Diffusion inversion and text-guided editing of real images."""


COMMANDS = {
    "demo": demo.demo,
    "sample": sampling.sample,
    "invert": inverting.invert,
    "edit": editing.edit,
    "reconstruct": inverting.reconstruct,
    "compare": comparing.compare,
    "attention": attention.attention,
    "batch": batching.batch,
    "bench": benching.bench,
    "study": study.study,
    "report": reporting.report,
    "train": training.train,
    "models": training.models,
    "methods": catalogue.methods,
    "app": serving.serve,
}
for _name, _function in COMMANDS.items():
    app.command(_name)(exits(_function))
