"""``noisespace study``: what inversions do to noise maps, measured and drawn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from noisespace.cli import options as o
from noisespace.cli.outcome import Clock, finish, progress, say
from noisespace.errors import InputError
from noisespace.study import STUDIES, WITHOUT_MODEL, known, load

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
    names = list(STUDIES) if "all" in name else list(dict.fromkeys(map(known, name)))
    from noisespace.study.kept import check_free

    clock = Clock()
    for each in names:
        check_free(out / each, resume=resume, force=force)
    loaded = None
    if set(names) - set(WITHOUT_MODEL):
        loaded = o.load_model(model, "float32", device)
    chosen = {"images": images, "quick": quick, "seed": seed}
    kind = {"resume": resume, "force": force}
    done = [one(each, loaded, out, chosen, kind, clock) for each in names]
    text = [line for found in done for line in found.pop("lines")]
    paths = [path for found in done for path in found["files"]]
    finish({"studies": done, "seconds": clock.all()}, [*text, *paths], as_json)


def listed(as_json: bool) -> None:
    """The studies and what each asks."""
    document = {"studies": [{"name": k, "question": v} for k, v in STUDIES.items()]}
    finish(document, [f"{name}: {question}" for name, question in STUDIES.items()], as_json)


def one(
    name: str, model: Any, out: Path, chosen: dict, kind: dict[str, bool], clock: Clock
) -> dict[str, Any]:
    """Runs one study and writes what it found."""
    from noisespace.study.budget import Budget
    from noisespace.study.finding import lines, save
    from noisespace.study.kept import Kept

    head = {"study": name, **chosen}
    if name not in WITHOUT_MODEL:
        head["model"] = model.fingerprint
    kept = Kept(out / name, head, **kind)
    try:
        with clock.on(name), told(name) as tell:
            finding = load(name)(model, Budget(**chosen, kept=kept, tell=tell))
    except KeyboardInterrupt:
        say(f"what {name} has measured so far is kept: go on with --resume")
        raise
    written = save(finding, out, force=True)  # the folder was checked before
    return {
        "name": name,
        "files": [str(path) for path in written],
        "claims": finding.numbers.get("claims", {}),
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
