"""``noisespace study``: what inversions do to noise maps, measured and drawn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from noisespace.cli import options as o
from noisespace.cli.outcome import Clock, finish, progress, say
from noisespace.cli.starting import begun
from noisespace.errors import InputError
from noisespace.study import STUDIES, WITHOUT_MODEL, WITHOUT_TEXT, known, load

if TYPE_CHECKING:
    from noisespace.study.budget import Budget

NAMES = f"{', '.join(STUDIES)}, or all; without one they are listed."
EVERY = 15.0  # seconds between lines of progress where there is no terminal


def study(
    name: Annotated[list[str] | None, typer.Argument(help=NAMES)] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Each study writes a folder of its name there.")
    ] = Path("runs/study"),
    quick: Annotated[
        bool, typer.Option("--quick", help="A small version, seconds instead of minutes.")
    ] = False,
    images: Annotated[
        int | None, typer.Option("--images", min=1, help="Pictures (default: the study's own).")
    ] = None,
    model: o.Model = "scenes",
    seed: o.Seed = 0,
    device: o.Device = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the rows that OUT has.")
    ] = False,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Measures what the noise space does and writes numbers, raw rows and figures.

    A study that was stopped goes on with --resume; one that is done is only drawn anew by it.
    """
    if not name:
        listed(as_json)
        return
    if resume and force:
        raise InputError("--resume goes on and --force begins anew: give one of them")
    named = list(dict.fromkeys(known(each) for each in name if each != "all"))
    names = list(STUDIES) if "all" in name else named
    from noisespace.study.budget import Budget
    from noisespace.study.kept import check_free

    clock, budget = Clock(), Budget(images, quick, seed)
    for each in names:
        check_free(out / each, resume=resume, force=force)
    loaded = None
    if set(names) - set(WITHOUT_MODEL):
        loaded = loaded_for(names, model, device)
    begun()
    # every folder is looked into before the first study runs
    budgets = [kept_in(out, each, budget, loaded, resume, force) for each in names]
    done = [one(*pair, loaded, out, clock) for pair in zip(names, budgets, strict=True)]
    text = [line for found in done for line in found.pop("lines")]
    paths = [path for found in done for path in found["files"]]
    finish({"studies": done, "seconds": clock.all()}, [*text, *paths], as_json)


def loaded_for(names: list[str], model: str, device: str) -> Any:
    """The model, where all of the studies can use it. Raises InputError where one cannot."""
    from noisespace.study.subjects import need_text

    loaded = o.load_model(model, "float32", device)
    for name in names:
        if name not in WITHOUT_TEXT:
            need_text(loaded, name)
    return loaded


def kept_in(out: Path, name: str, budget: Budget, model: Any, resume: bool, force: bool) -> Budget:
    """A study's budget, whose rows stay in its folder under their settings."""
    from noisespace.study.kept import Kept

    head = budget.head(name, model)
    return replace(budget, kept=Kept(out / name, head, resume=resume, force=force))


def listed(as_json: bool) -> None:
    """The studies and what each asks."""
    document = {"studies": [{"name": k, "question": v} for k, v in STUDIES.items()]}
    finish(document, [f"{name}: {question}" for name, question in STUDIES.items()], as_json)


def one(name: str, budget: Budget, model: Any, out: Path, clock: Clock) -> dict[str, Any]:
    """Runs one study and writes what it found."""
    from noisespace.study.finding import lines, plain, save

    try:
        with clock.on(name), told(name) as tell:
            finding = load(name)(model, replace(budget, tell=tell))
    except KeyboardInterrupt:
        say(f"what {name} has measured so far is kept: go on with --resume")
        raise
    written = save(finding, out, force=True)  # the folder was checked before
    return {
        "name": name,
        "files": [str(path) for path in written],
        "claims": plain(finding.numbers.get("claims", [])),
        "lines": lines(finding),
    }


@contextmanager
def told(name: str) -> Iterator[Callable[[float, float, str], None]]:
    """Progress with the time left: a bar on a terminal, a line now and then elsewhere."""
    start = last = time.monotonic()

    def line(done: float, total: float, _: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= EVERY or done == total:
            last, left = now, (now - start) * (total / done - 1)
            say(f"{name}: {done / total:.0%}, {now - start:.0f} s, about {left:.0f} s left")

    with progress(name) as bar:

        def both(done: float, total: float, what: str) -> None:
            bar.note(what)
            bar(round(done), round(total))

        yield both if bar.visible else line
