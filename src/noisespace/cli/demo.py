"""``noisespace demo``: a held-out scene, inverted, reconstructed, edited, beside the truth."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from noisespace.cli import options as o
from noisespace.cli.outcome import Clock, finish, say
from noisespace.cli.outputs import latent_error, psnr, save_sheet
from noisespace.cli.work import Words, invert_image, run_edit
from noisespace.errors import InputError
from noisespace.planning.parsing import parse_method

SEED = 0  # of the held-out scene
# what each edit changes, and by which method
EDITS = (("colour", "edit-friendly"), ("background", "ddim"), ("shape", "cycle-diffusion"))


@dataclass(frozen=True)
class Trial:
    """One edit of the demo and what it should have been."""

    method: str
    target: str
    picture: Any
    truth: Any
    figures: dict[str, Any]


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write.")] = Path("demo"),
    model: o.Model = "scenes",
    seed: Annotated[int, typer.Option("--seed", help="Which held-out scene.")] = SEED,
    device: o.Device = "auto",
    as_json: o.Json = False,
) -> None:
    """Edits a picture that training never showed, and writes input.png, sheet.png and demo.json."""
    from noisespace.api import reconstruct
    from noisespace.pictures.metadata import save_png
    from noisespace.system.files import check_writable, write_json
    from noisespace.train.draw import held_out_scene

    clock, names = Clock(), ("input.png", "sheet.png", "demo.json")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; expected a folder to write to")
    given, sheet, figures = (check_writable(out / name, force=True) for name in names)
    loaded = o.load_model(model, "float32", device)
    scene = held_out_scene(seed)
    save_png(given, scene.render(), force=True)
    pixels = o.read_image(given)
    code = invert_image(loaded, pixels, Words(scene.caption), parse_method(EDITS[0][1]), [0])
    replay = reconstruct(loaded, code)
    done = {
        "max_abs_latent_error": latent_error(replay.latents, code),
        "psnr": psnr(replay.images[0], pixels),
    }
    trials = [
        edit_scene(loaded, scene, pixels, what, name, code if name == EDITS[0][1] else None)
        for what, name in EDITS
    ]
    draw(sheet, (scene.caption, pixels), (replay.images[0], done), trials)
    document = {
        "reconstruction": done,
        "edits": [t.figures for t in trials],
        "seconds": clock.total(),
    }
    write_json(figures, document, force=True)
    finish(document, [*(line(t) for t in trials), str(sheet), str(figures)], as_json)


def change(scene: Any, what: str) -> Any:
    """The true edit: the first value, in a fixed order, that the scene does not have yet."""
    from noisespace.train.palette import SHAPES

    thing = scene.objects[0]
    taken = {thing.colour, scene.background, thing.shape}
    wanted = {
        "colour": ("red", "yellow", "blue"),
        "background": ("blue", "green", "orange"),
        "shape": ("circle", "square", *SHAPES),
    }
    value = next(v for v in wanted[what] if v not in taken)
    return scene.edited(**{what: value})


def edit_scene(
    model: Any, scene: Any, pixels: Any, what: str, name: str, code: Any = None
) -> Trial:
    """One edit by one method, with its PSNR to the true edit."""
    truth = change(scene, what)
    start = time.perf_counter()
    if code is None:
        code = invert_image(model, pixels, Words(scene.caption), parse_method(name), [0])
    picture = run_edit(model, code, [truth.caption]).images[0]
    right = truth.render()
    figures = {
        "method": code.method,
        "source": scene.caption,
        "target": truth.caption,
        "psnr_true_edit": psnr(picture, right),
        "psnr_input": psnr(pixels, right),
        "seconds": round(time.perf_counter() - start, 3),
    }
    say(f"{what}: {truth.caption}")
    return Trial(name, truth.caption, picture, right, figures)


def draw(sheet: Path, given: tuple, replay: tuple, trials: list[Trial]) -> None:
    """Input and reconstruction, then each edit with the true edit beside it: two pairs a row."""
    from noisespace.pictures.sheet import Cell

    (caption, pixels), (picture, done) = given, replay
    note = f"PSNR {done['psnr']:.1f} dB, latents within {done['max_abs_latent_error']:.1e}"
    cells = [Cell(pixels, "input", caption), Cell(picture, "reconstruction", note)]
    for t in trials:
        figures = t.figures
        cells += [
            Cell(t.picture, f"{t.method}: {t.target}", f"{figures['psnr_true_edit']:.1f} dB"),
            Cell(t.truth, "the true edit", f"the input has {figures['psnr_input']:.1f} dB to it"),
        ]
    rows = [cells[i : i + 4] for i in range(0, len(cells), 4)]
    save_sheet(sheet, rows, "A scene of a kind that training never showed", True)


def line(trial: Trial) -> str:
    f = trial.figures
    return (
        f"{trial.method}: {f['psnr_true_edit']:.1f} dB to the true edit "
        f"(the input: {f['psnr_input']:.1f} dB), {f['seconds']:.1f} s"
    )
