"""``noisespace compare``: several methods on one picture, as a labelled grid with figures."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer

from noisespace.cli import options as o
from noisespace.cli.outcome import DONE, FAILED, Clock, finish, one_sentence, say
from noisespace.cli.outputs import check_outputs, latent_error, psnr, save_sheet
from noisespace.cli.work import (
    Words,
    check_image_edit,
    invert_image,
    run_edit,
    say_memory,
    sides_of,
    words_of,
)
from noisespace.planning.parsing import parse_editor, parse_mask, parse_method

METHODS = ("ddim", "negative-prompt", "cycle-diffusion", "edit-friendly")


def compare(
    image: Annotated[Path, typer.Argument(help="A picture.")],
    source: o.Source,
    target: Annotated[str, typer.Option("--target", help="What it shall show.")],
    out: o.Out,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help=f"Repeat; default: {', '.join(METHODS)}."),
    ] = None,
    editor: Annotated[
        list[str] | None,
        typer.Option("--editor", help="Repeat: every method with every editor ('none' is one)."),
    ] = None,
    mask: o.Mask = None,
    model: o.Model = "scenes",
    steps: o.StepsOrTimes = None,
    guidance: o.Guidance = None,
    source_guidance: o.SourceGuidance = None,
    seed: o.Seed = 0,
    size: o.Size = None,
    captioner: o.Captioner = None,
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
    as_json: o.Json = False,
    force: o.Force = False,
) -> None:
    """Inverts, reconstructs and edits one picture by several methods, with several editors.

    A method that fails while it runs is a cell that says why; the others are shown, and the exit
    code is 1.
    """
    from noisespace.planning.settings import check_method, method_defaults

    clock = Clock()
    check_outputs([out], inputs=[image], force=force)
    methods = [(spec, parse_method(spec)) for spec in method or METHODS]
    editors = [(e, None if e == "none" else parse_editor(e)) for e in editor or ["none"]]
    found = None if mask is None else parse_mask(mask)
    working, pixels = o.parse_size(size), o.read_image(image)
    for _, how in methods:
        o.check_early(how, steps, (guidance, source_guidance), [seed])
    speed = {"preset": preset, "compile": compiled, "offload": offload}
    speed |= {"cache": cache, "tiling": tiling, "quantize": quantize}
    added = {"lora": lora, "embedding": embedding, "vae": vae, "prediction": prediction}
    added |= o.reading(weights, clip_skip, [source, target])
    loaded = o.load_model(model, dtype, device, **speed, **added)
    o.check_guidance(loaded, guidance, source_guidance)
    for _, how in methods:
        check_method(how, loaded.grid(steps or method_defaults(loaded, how).steps))
    say_memory(loaded, 2, sides_of(loaded, pixels, working))
    words = words_of(loaded, pixels, source, captioner, working)
    for _, control in editors:
        asked = {"editor": control, "mask": found}
        check_image_edit(loaded, pixels, working, (words.text, [target]), **asked)
    before = {"steps": steps, "guidance": source_guidance, "size": working}
    after = {"guidance": guidance, "seed": seed, "mask": found}
    tried = product(methods, editors)
    rows, done = trials(loaded, pixels, (words, target), tried, (before, after))
    save(out, pixels, (words.text, target), rows, force)
    document = {"grid": str(out), "source": words.text, "methods": done, "seconds": clock.all()}
    bad = any("error" in one for one in done)
    finish(document, [line(one) for one in done] + [str(out)], as_json, FAILED if bad else DONE)


def trials(
    model: Any,
    pixels: Any,
    prompts: tuple[Words, str],
    tried: Iterable[tuple[tuple[str, Any], tuple[str, Any]]],
    settings: tuple[dict, dict],
) -> tuple[list[list[Any]], list[dict[str, Any]]]:
    """Methods with editors, each with its name: a row of cells and the figures of every pair."""
    before, after = settings
    rows, done = [], []
    for (spec, how), (word, control) in tried:
        both = before, {**after, "editor": control}
        try:
            cells, figures = trial(model, pixels, prompts, how, both)
        except Exception as error:  # one method's failure must not lose the others
            cells, figures = failed(spec, error)
        rows.append(cells)
        done.append({"method": spec, "editor": word, **figures})
    return rows, done


def trial(
    model: Any, pixels: Any, prompts: tuple[Words, str], method: Any, settings: tuple[dict, dict]
) -> tuple[list[Any], dict[str, Any]]:
    """One method: its row of cells and its figures."""
    import numpy as np

    from noisespace.api import reconstruct
    from noisespace.pictures.sheet import Cell, difference

    (source, target), (before, after) = prompts, settings
    start = time.perf_counter()
    code = invert_image(model, pixels, source, method, [after["seed"]], **before)
    edited = run_edit(model, code, [target], **after).images[0]
    seconds = round(time.perf_counter() - start, 3)  # what an edit costs, without the check below
    replay = reconstruct(model, code)
    figures = {
        "max_abs_latent_error": latent_error(replay.latents, code),
        "psnr_reconstruction": psnr(replay.images[0], pixels),
        "psnr_input": psnr(edited, pixels),
        "seconds": seconds,
    }
    note = f"PSNR {figures['psnr_reconstruction']:.1f} dB, latents {replay_words(figures)}"
    cells = [
        Cell(replay.images[0], f"{method!r}: reconstruction", note),
        Cell(
            edited,
            edit_words(after["editor"]),
            f"PSNR to the input {figures['psnr_input']:.1f} dB, {seconds:.1f} s",
        ),
        Cell(difference(np.asarray(edited), pixels), "difference of edit and input x 4"),
    ]
    return cells, figures


def edit_words(editor: Any) -> str:
    """An edit's label."""
    from noisespace.pictures.describe import describe

    return "edit" if editor is None else f"edit by {describe(editor)}"


def replay_words(figures: dict[str, Any]) -> str:
    return f"within {figures['max_abs_latent_error']:.1e}"


def failed(spec: str, error: Exception) -> tuple[list[Any], dict[str, Any]]:
    """The row of a method that failed."""
    from noisespace.pictures.sheet import Cell

    reason = one_sentence(error)
    say(f"error: {spec}: {reason}")
    return [Cell(None, spec, f"failed: {reason}")], {"error": reason}


def save(
    out: Path, pixels: Any, prompts: tuple[str, str], rows: list[list[Any]], force: bool
) -> None:
    """The grid: the input alone, then a row a method."""
    from noisespace.pictures.sheet import Cell

    title = f"{prompts[0]}  ->  {prompts[1]}"
    save_sheet(out, [[Cell(pixels, "input", prompts[0])], *rows], title, force)


def line(figures: dict[str, Any]) -> str:
    """One method's figures as text."""
    name = figures["method"]
    if figures["editor"] != "none":
        name = f"{name} + {figures['editor']}"
    if "error" in figures:
        return f"{name}: failed: {figures['error']}"
    return (
        f"{name}: reconstruction {figures['psnr_reconstruction']:.2f} dB, "
        f"edit to input {figures['psnr_input']:.2f} dB, {figures['seconds']:.1f} s"
    )
