"""``noisespace edit``: invert a picture (or take a saved code) and write its edits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from noisespace.cli import options as o
from noisespace.cli.outcome import Clock, finish, say
from noisespace.cli.outputs import Writes, numbered, psnr, save_sheet, write
from noisespace.cli.work import (
    check_image_edit,
    first_reconstruction,
    invert_image,
    load_code,
    run_edit,
    say_memory,
    sides_of,
    words_of,
)
from noisespace.editing import OPERATIONS
from noisespace.errors import InputError
from noisespace.inversion import METHODS
from noisespace.planning.parsing import (
    parse_concepts,
    parse_editor,
    parse_mask,
    parse_method,
    parse_operation,
)


def edit(
    image: Annotated[Path, typer.Argument(help="A picture, or a code saved by invert.")],
    target: Annotated[
        list[str], typer.Option("--target", help="What it shall show; repeat for several edits.")
    ],
    out: o.Out,
    source: Annotated[str | None, typer.Option("--source", help=o.SOURCE_HELP)] = None,
    captioner: o.Captioner = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method", help=f"NAME:field=value,...; NAME is one of {', '.join(METHODS)}."
        ),
    ] = None,
    model: o.Model = "scenes",
    steps: o.StepsOrTimes = None,
    guidance: o.Guidance = None,
    source_guidance: o.SourceGuidance = None,
    negative: o.Negative = None,
    seed: o.Seed = 0,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, max=64, help="How many seeds, in one batch.")
    ] = None,
    size: o.Size = None,
    editor: o.Editor = None,
    concept: Annotated[
        list[str] | None,
        typer.Option("--concept", help="WORDS=SCALE, added guidance (below 0: away); repeat."),
    ] = None,
    mask: o.Mask = None,
    operation: Annotated[
        list[str] | None,
        typer.Option(
            "--operation", help=f"Done to the code first: {', '.join(OPERATIONS)}; repeat."
        ),
    ] = None,
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
    sheet: Annotated[
        Path | None, typer.Option("--sheet", help="Also write a labelled contact sheet (PNG).")
    ] = None,
    code: Annotated[
        Path | None, typer.Option("--code", help="Also save the code (.safetensors).")
    ] = None,
    as_json: o.Json = False,
    force: o.Force = False,
) -> None:
    """Edits a picture by text: writes OUT, its record in it, and OUT with .json beside it.

    Several pictures (--target repeated, --seeds) become out-1.png, out-2.png, ...: all targets of
    the first seed, then of the next.
    """
    clock = Clock()
    inversion = {
        "--source": source,
        "--captioner": captioner,
        "--method": method,
        "--steps": steps,
        "--source-guidance": source_guidance,
        "--seeds": seeds,
        "--size": size,
        "--code": code,
    }
    saved = o.is_code(image)
    start = load_code(image, inversion) if saved else None
    each = (seeds or 1) if start is None else start.path.shape[1]
    paths = numbered(out, len(target) * each)
    writes = Writes(paths, out.with_suffix(".json"), sheet, code, force)
    writes.check([image, Path(mask) if mask else None])
    how = parse_method("edit-friendly" if method is None else method)
    working = o.parse_size(size)
    pixels = None if saved else o.read_image(image)
    drawn = None if mask is None else parse_mask(mask)
    control = choose_editor(editor, concept)
    operations = [parse_operation(spec) for spec in operation or []]
    note_empty(source if not saved else "saved", target)
    numbers = list(range(seed, seed + (seeds or 1)))
    o.check_early(how, steps, (guidance, source_guidance), numbers)
    speed = {"preset": preset, "compile": compiled, "offload": offload}
    speed |= {"cache": cache, "tiling": tiling, "quantize": quantize}
    added = {"lora": lora, "embedding": embedding, "vae": vae, "prediction": prediction}
    added |= o.reading(weights, clip_skip, [source, *target, negative])
    loaded = o.load_model(model, dtype, device, **speed, **added)
    o.check_guidance(loaded, guidance, source_guidance)
    from noisespace.planning.settings import negative_prompts

    negative_prompts(loaded, negative, 1, start, how)
    rows = (1 + len(target)) * each
    if start is not None:
        say_memory(loaded, rows, [side * loaded.factor for side in start.path.shape[-2:]])
    else:
        asked = {"editor": control, "mask": drawn, "operations": operations}
        words = words_of(loaded, pixels, source or "", captioner, working)
        check_image_edit(loaded, pixels, working, (words.text, target), **asked)
        say_memory(loaded, rows, sides_of(loaded, pixels, working))
        settings = {"steps": steps, "guidance": source_guidance, "size": working}
        with clock.on("invert"):
            start = invert_image(loaded, pixels, words, how, numbers, **settings)
    options = {"guidance": guidance, "editor": control, "mask": drawn, "seed": seed}
    options["negative"] = negative
    with clock.on("edit"):
        for change in operations:
            start = change(loaded, start)
        result = run_edit(loaded, start, target, **options)
    before = None if sheet is None else first_reconstruction(result)
    document = write(writes, result, start, clock)
    if sheet is not None:
        draw(sheet, pixels, before, result, force)
    finish(document, writes.named(), as_json)


def note_empty(source: str | None, targets: list[str]) -> None:
    """Says what an empty prompt means; it is allowed, but seldom meant."""
    if not (source or "").strip():
        say("note: no --source: the picture is inverted under the empty prompt")
    if not all(target.strip() for target in targets):
        say("note: a --target is empty: the edit runs without a text")


def choose_editor(editor: str | None, concepts: list[str] | None) -> Any:
    """The editor of --editor or of --concept; both at once is refused."""
    if editor and concepts:
        raise InputError("give either --editor or --concept: they are one control of the edit")
    if concepts:
        return parse_concepts(concepts)
    return parse_editor(editor) if editor else None


def draw(sheet: Path, pixels: Any, before: Any, result: Any, force: bool) -> None:
    """Input, reconstruction, edits, and what each edit changed."""
    import numpy as np

    from noisespace.pictures.sheet import Cell, difference

    known = np.asarray(before) if pixels is None else pixels  # a code does not keep its image
    first = [] if pixels is None else [Cell(pixels, "input")]
    note = "" if pixels is None else f"PSNR to the input {psnr(before, pixels):.1f} dB"
    edits, apart = [], []
    source = result.record["source"]
    for i, picture in enumerate(result.images):
        what = result.record["pictures"][i]
        seed = source["seed"][what["source"]]
        edits.append(Cell(picture, what["prompt"], f"seed {seed}"))
        figure = f"PSNR {psnr(picture, known):.1f} dB"
        apart.append(Cell(difference(np.asarray(picture), known), "difference x 4", figure))
    rows = [[*first, Cell(before, "reconstruction", note)]]
    for i in range(0, len(edits), 4):
        rows += [edits[i : i + 4], apart[i : i + 4]]
    save_sheet(sheet, rows, f"{source['method']}, source: {source['prompt'][0]}", force)
