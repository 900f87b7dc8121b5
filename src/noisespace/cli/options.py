"""The options that several commands share, and how their texts are read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from noisespace.cli.outcome import say
from noisespace.cli.starting import begun
from noisespace.editing import EDITORS, MASKS
from noisespace.errors import InputError
from noisespace.inversion import METHODS

MAX_SIDE = 8000  # 64 million pixels, the limit of what is read
SOURCE_HELP = 'What the image shows, in words; "auto" lets a captioner say it.'
Source = Annotated[str, typer.Option("--source", help=SOURCE_HELP)]
Captioner = Annotated[
    str | None,
    typer.Option(
        "--captioner",
        help="Who writes --source auto: the folder or Hub id of a BLIP (default: the captions that "
        "the model knows, by its alignment model).",
    ),
]
Method = Annotated[
    str,
    typer.Option(
        "--method", help=f"Inversion, as NAME:field=value,...; NAME is one of {', '.join(METHODS)}."
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        help='"scenes" (embedded), a pipeline folder, a .safetensors checkpoint or a Hub id.',
    ),
]


def parse_steps(text: str) -> int | tuple[int, ...]:
    """``50``, or the timesteps themselves as ``799,599,399,199``."""
    parts = [part.strip() for part in str(text).split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts) or parts == ["0"]:
        raise typer.BadParameter(f"expected a number of steps or timesteps T,T,..., got {text!r}")
    return int(parts[0]) if len(parts) == 1 else tuple(map(int, parts))


Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Steps of the whole grid.")]
StepsOrTimes = Annotated[
    Any,
    typer.Option(
        "--steps",
        parser=parse_steps,
        metavar="N|T,T,...",
        help="Steps of the whole grid, or its timesteps, noisiest first.",
    ),
]
Guidance = Annotated[float | None, typer.Option("--guidance", help="w of the edit.")]
SourceGuidance = Annotated[
    float | None, typer.Option("--source-guidance", help="w of the inversion.")
]
Negative = Annotated[
    str | None,
    typer.Option("--negative", help="What shall not be shown, in the place of the null text."),
]
Seed = Annotated[int, typer.Option("--seed", help="The (first) seed.")]
Seeds = Annotated[int, typer.Option("--seeds", min=1, max=64, help="How many seeds, in one batch.")]
Size = Annotated[
    str | None, typer.Option("--size", help="Working size: 64, or WIDTHxHEIGHT such as 96x64.")
]
Dtype = Annotated[
    str,
    typer.Option(
        "--dtype",
        help="float32, float64, bfloat16, float16 (not on a CPU), mixed (autocast), or auto: "
        "16 bits on CUDA but for the embedded models, float32 elsewhere.",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
Preset = Annotated[
    str | None,
    typer.Option("--preset", help="fast (at most 25 steps by default) or exact (float64)."),
]
Compile = Annotated[
    bool, typer.Option("--compile", help="torch.compile: pays for many pictures of one size.")
]
Offload = Annotated[
    str | None,
    typer.Option("--offload", help="To the CPU's memory: parts (but the network), layers or none."),
]
Cache = Annotated[
    int | None,
    typer.Option(
        "--cache", help="Deep features kept for so many steps of an edit: faster, approximate."
    ),
]
Quantize = Annotated[
    str | None,
    typer.Option("--quantize", help="Network and T5 in 8bit or 4bit, by bitsandbytes on CUDA."),
]
Tiling = Annotated[
    bool, typer.Option("--tiling", help="The autoencoder in tiles: large pictures in less memory.")
]
Lora = Annotated[
    list[str] | None,
    typer.Option("--lora", help="A LoRA's FILE or FILE:SCALE (.safetensors), fused; repeat."),
]
Embedding = Annotated[
    list[str] | None,
    typer.Option(
        "--embedding",
        help="A textual inversion's FILE (.safetensors), in prompts as <FILE's name>; repeat.",
    ),
]
Vae = Annotated[
    str | None,
    typer.Option("--vae", help="Another autoencoder: a folder, a .safetensors file or a Hub id."),
]
Prediction = Annotated[
    str | None,
    typer.Option("--prediction", help="What the network predicts: epsilon or v_prediction."),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="Whose weights prompts have, such as (red:1.3): forge or comfyui (default: none, "
        "brackets are text).",
    ),
]
ClipSkip = Annotated[
    int | None,
    typer.Option(
        "--clip-skip",
        min=0,
        help="Layers of CLIP to skip, as diffusers counts: the WebUI's Clip skip 2 is 1 (on SDXL "
        "0).",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]
Editor = Annotated[
    str | None,
    typer.Option(
        "--editor",
        help=f"What else controls the edit, as NAME:field=value,...: {', '.join(EDITORS)}.",
    ),
]
Mask = Annotated[
    str | None,
    typer.Option(
        "--mask",
        help="Where the picture may change: a picture (white: yes), or what finds the place, "
        f"{' or '.join(MASKS)}:word=....",
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="The PNG to write.")]


def parse_size(text: str | None) -> int | tuple[int, int] | None:
    """``64`` or ``WIDTHxHEIGHT``, as the library's side or (height, width)."""
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(s.strip().isascii() and s.strip().isdigit() for s in sides):
        raise InputError(f"--size must be a side such as 64 or WIDTHxHEIGHT, got {text!r}")
    numbers = [int(s) for s in sides]
    if not all(0 < n <= MAX_SIDE for n in numbers):
        raise InputError(f"--size must have sides from 1 to {MAX_SIDE} pixels, got {text!r}")
    return numbers[0] if len(numbers) == 1 else (numbers[1], numbers[0])


def load_model(name: str, dtype: str, device: str, **options: Any) -> Any:
    """The model, and a line that names it. ``options``: what else ``load`` takes."""
    from noisespace.models.loading import load

    model = load(name, dtype, device, **options)
    begun()
    kind = str(model.dtype).removeprefix("torch.") + " in autocast" * (dtype == "mixed")
    given = {**options, **model.additions}
    asked = [name if v is True else f"{name} {words(v)}" for name, v in given.items() if v]
    told = f"model: {model.name} ({model.fingerprint[:12]}), {kind} on {model.device}"
    say("; ".join([told, *asked]))
    return model


def words(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def reading(
    weights: str | None, clip_skip: int | None, prompts: Iterable[str | None]
) -> dict[str, Any]:
    """How ``load`` shall read prompts; refuses what is no weight in those that will be read."""
    from noisespace.models.prompt_weights import parse

    for prompt in prompts:
        parse(prompt or "", weights)
    return {"weights": weights, "clip_skip": clip_skip}


def read_image(path: Path) -> Any:
    """The pixels of an image file, checked before any model is loaded."""
    from noisespace.pictures.decode import load

    return load(path)


def is_code(path: Path) -> bool:
    """Whether a file is a saved code: by its name, or by what safetensors files begin with."""
    if path.suffix.lower() == ".safetensors":
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def check_early(
    method: Any, steps: Any, weights: tuple[float | None, ...], seeds: Iterable[int]
) -> None:
    """Refuses values that no model takes, before one is loaded."""
    from noisespace.core.grid import Grid
    from noisespace.planning.settings import check_method, check_weight, generators

    for w in weights:
        if w is not None:
            check_weight(w)
    generators(list(seeds), "replay")
    count = steps or method.defaults.steps
    # 1000 is more than nearly every model was trained with: the model shall say it
    if isinstance(count, tuple) or count <= 1000:
        check_method(method, Grid.from_config({}, count))


def check_guidance(model: Any, *weights: float | None) -> None:
    """Raises InputError, before anything runs, for a w that means nothing to the model."""
    from noisespace.planning.settings import check_guidance as check

    for w in weights:
        if w is not None:
            check(model, w)
