"""The parts that commands share: one inversion and one edit, with progress and what was used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisespace.cli.outcome import progress, say
from noisespace.errors import InputError


@dataclass(frozen=True)
class Words:
    """A source prompt, and who wrote it ("" where it was given)."""

    text: str
    captioner: str = ""


def words_of(model: Any, pixels: Any, source: str, captioner: str | None, size: Any) -> Words:
    """The source prompt; with "auto" what a captioner says, on standard error too."""
    if source.strip().lower() != "auto":
        if captioner is not None:
            raise InputError("--captioner is for --source auto; leave it out, or the source")
        return Words(source)
    from noisespace.api import caption
    from noisespace.models.judges.captioning import captioner_of, who

    writer = captioner_of(model, captioner)
    text = caption(model, [pixels], writer, size=size)[0]
    say(f"source: {text}")
    return Words(text, who(writer))


def invert_image(
    model: Any, image: Any, source: Words, method: Any, seeds: Sequence[int], **options: Any
) -> Any:
    """One image inverted with several seeds, as one batch."""
    from noisespace.api import invert

    with progress("inverting") as show:
        images, prompts = [image] * len(seeds), [source.text] * len(seeds)
        code = invert(model, images, prompts, method, seed=list(seeds), progress=show, **options)
    code = code.with_info(captioner=source.captioner)
    say_code(code)
    same = code.path[:, :1].expand_as(code.path)
    if len(seeds) > 1 and bool((code.path == same).all()):
        say("note: this method draws no noise, so that all seeds give the same picture")
    return code


def check_image_edit(
    model: Any, pixels: Any, size: Any, prompts: tuple[str, Sequence[str]], **controls: Any
) -> None:
    """Refuses an editor, mask or operation that cannot work, before the image is inverted."""
    from noisespace.pictures.images import fit
    from noisespace.planning.plan import check_edit

    _, done = fit(pixels, size, target=model.resolution, multiple=model.multiple)
    check_edit(model, prompts, done, **controls)


def say_memory(model: Any, rows: int, sides: Sequence[int]) -> None:
    """Before anything runs: what it takes, what is free, and what would make it fit.

    ``rows``: pictures at a time, each evaluated under its prompt and the null text; ``sides``:
    (height, width) of the pixels.
    """
    from noisespace.models.memory import work_of

    states = sides[0] // model.factor, sides[1] // model.factor
    say(f"memory: {model.memory.sentence(work_of(model, states, 2 * rows))}")


def sides_of(model: Any, pixels: Any, size: Any) -> tuple[int, int]:
    """(height, width) at which a picture is worked on."""
    from noisespace.pictures.images import fit

    return fit(pixels, size, target=model.resolution, multiple=model.multiple)[1].size


def say_code(code: Any) -> None:
    """The settings of a code and what was done to its image, on standard error."""
    info = code.info
    say(
        f"inversion: {info.method}, {code.steps} steps ({code.steps - code.first} of them run), "
        f"guidance {info.guidance:g}, seed {', '.join(map(str, info.seeds))}"
    )
    if info.fit:
        say(f"image: {fit_words(dict(info.fit[0]))}")


def fit_words(fit: dict[str, Any]) -> str:
    """How an image was brought to the model's resolution, as WIDTHxHEIGHT."""
    return ", ".join(f"{key} {_plain(value)}" for key, value in fit.items())


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple)):  # (height, width), said as --size has it
        return "x".join(map(str, reversed(value)))
    return str(value)


def run_edit(model: Any, code: Any, targets: Sequence[str], **options: Any) -> Any:
    """All targets of every image of a code, in one batch, image-major."""
    from noisespace.api import edit_steps

    prompts = [list(targets)] * code.path.shape[1]
    run = edit_steps(model, code, prompts, **options)
    with progress("editing") as show:
        for step in run:
            show(step.index + 1, step.total)
    result = run.result
    say(f"edit: guidance {result.record['guidance']:g}")
    return result


def load_code(path: Path, given: dict[str, Any]) -> Any:
    """A saved code. Options that belong to an inversion mean nothing any more: InputError."""
    from noisespace.core.code import Code

    code = Code.load(path)
    stray = [name for name, value in given.items() if value is not None]
    if stray:
        raise InputError(
            f"{path}: is a code, already inverted, so {', '.join(stray)} cannot be given; "
            "invert the image again, or leave it out"
        )
    say_code(code)
    return code


def first_reconstruction(result: Any) -> Any:
    """The source's replay; of a batch of seeds, the first one's."""
    pictures = result.reconstruction
    return pictures[0] if isinstance(pictures, list) else pictures
