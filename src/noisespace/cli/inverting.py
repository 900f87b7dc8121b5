"""``noisespace invert`` and ``noisespace reconstruct``: the two halves of an edit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from noisespace.cli import options as o
from noisespace.cli.outcome import Clock, finish
from noisespace.cli.outputs import check_outputs, latent_error, psnr
from noisespace.cli.work import invert_image, load_code, say_memory, sides_of, words_of
from noisespace.errors import InputError
from noisespace.planning.parsing import parse_method


def invert(
    image: Annotated[Path, typer.Argument(help="A picture.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The code to write (.safetensors).")],
    source: o.Source = "",
    captioner: o.Captioner = None,
    method: o.Method = "edit-friendly",
    model: o.Model = "scenes",
    steps: o.StepsOrTimes = None,
    source_guidance: o.SourceGuidance = None,
    seed: o.Seed = 0,
    seeds: o.Seeds = 1,
    size: o.Size = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            help="A file in which an optimisation keeps its state: after an interruption the same "
            "command goes on from there. Removed at the end.",
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
    as_json: o.Json = False,
    force: o.Force = False,
) -> None:
    """Inverts a picture and saves its code, which edit and reconstruct take in its place."""
    clock = Clock()
    if not o.is_code(out):
        raise InputError(f"{out}: codes are written as .safetensors; use a name that ends so")
    check_outputs([], [out], inputs=[image], force=force)
    if o.is_code(image):
        raise InputError(f"{image}: is a code, already inverted; give a picture")
    how, working, pixels = parse_method(method), o.parse_size(size), o.read_image(image)
    o.check_early(how, steps, (source_guidance,), range(seed, seed + seeds))
    speed = {"preset": preset, "compile": compiled, "offload": offload}
    speed |= {"cache": cache, "tiling": tiling, "quantize": quantize}
    added = {"lora": lora, "embedding": embedding, "vae": vae, "prediction": prediction}
    added |= o.reading(weights, clip_skip, [source])
    loaded = o.load_model(model, dtype, device, **speed, **added)
    settings = {"steps": steps, "guidance": source_guidance, "size": working}
    settings["checkpoint"] = checkpoint
    say_memory(loaded, seeds, sides_of(loaded, pixels, working))
    words = words_of(loaded, pixels, source, captioner, working)
    with clock.on("invert"):
        numbers = range(seed, seed + seeds)
        code = invert_image(loaded, pixels, words, how, numbers, **settings)
    code.save(out, force=force)
    document = {
        "code": str(out),
        "steps": code.steps,
        "steps_run": code.steps - code.first,
        "info": code.info.model_dump(mode="json"),
        "seconds": clock.all(),
    }
    finish(document, [str(out)], as_json)


def reconstruct(
    image: Annotated[Path, typer.Argument(help="A code saved by invert, or a picture.")],
    out: o.Out,
    source: Annotated[str | None, typer.Option("--source", help=o.SOURCE_HELP)] = None,
    captioner: o.Captioner = None,
    method: Annotated[
        str | None, typer.Option("--method", help="As in invert; for a picture only.")
    ] = None,
    model: o.Model = "scenes",
    steps: o.StepsOrTimes = None,
    source_guidance: o.SourceGuidance = None,
    guidance: Annotated[
        float | None, typer.Option("--guidance", help="w of the replay (default: the inversion's).")
    ] = None,
    seed: o.Seed = 0,
    size: o.Size = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="The picture of a code, for its PSNR.")
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
    as_json: o.Json = False,
    force: o.Force = False,
) -> None:
    """Replays a code under its own prompt, and says how near that comes to the input."""
    from noisespace.api import reconstruct as replay
    from noisespace.pictures.metadata import save_png

    clock, saved = Clock(), o.is_code(image)
    inversion = {
        "--source": source,
        "--captioner": captioner,
        "--method": method,
        "--steps": steps,
        "--source-guidance": source_guidance,
        "--size": size,
    }
    check_outputs([out], inputs=[image, against], force=force)
    code = load_code(image, inversion) if saved else None
    how = parse_method("edit-friendly" if method is None else method)
    working = o.parse_size(size)
    given = against if saved else image
    pixels = o.read_image(given) if given else None
    if code is not None and code.path.shape[1] > 1:
        raise InputError(f"{image}: holds {code.path.shape[1]} seeds; reconstruct takes one")
    o.check_early(how, steps, (guidance, source_guidance), [seed])
    speed = {"preset": preset, "compile": compiled, "offload": offload}
    speed |= {"cache": cache, "tiling": tiling, "quantize": quantize}
    added = {"lora": lora, "embedding": embedding, "vae": vae, "prediction": prediction}
    added |= o.reading(weights, clip_skip, [source])
    loaded = o.load_model(model, dtype, device, **speed, **added)
    o.check_guidance(loaded, guidance, source_guidance)
    if code is None:
        say_memory(loaded, 1, sides_of(loaded, pixels, working))
        settings = {"steps": steps, "guidance": source_guidance, "size": working}
        words = words_of(loaded, pixels, source or "", captioner, working)
        with clock.on("invert"):
            code = invert_image(loaded, pixels, words, how, [seed], **settings)
    with clock.on("reconstruct"):
        result = replay(loaded, code, guidance=guidance)
    figures = figures_of(result, code, pixels)
    save_png(out, result.images[0], result.record_of(0), force=force)
    document = {"picture": str(out), **figures, "record": result.record, "seconds": clock.all()}
    finish(document, [str(out), *(f"{k}: {v}" for k, v in figures.items())], as_json)


def figures_of(result: Any, code: Any, pixels: Any) -> dict[str, Any]:
    """How near a replay comes: latents always, pixels where the input is known."""
    figures: dict[str, Any] = {"max_abs_latent_error": latent_error(result.latents, code)}
    if pixels is not None:
        figures["psnr"] = psnr(result.images[0], pixels)
    return figures
