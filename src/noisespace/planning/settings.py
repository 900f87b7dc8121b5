"""Settings that nobody gave: the published ones of a method, or the model's own."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noisespace.core.code import Code
from noisespace.core.condition import Condition, Negative
from noisespace.core.grid import Grid, Steps
from noisespace.core.streams import stream
from noisespace.errors import InputError
from noisespace.inversion import METHODS, Defaults, Inversion
from noisespace.inversion.problem import Checkpointing, NoCheckpoint
from noisespace.inversion.tuning.checkpoint import Checkpoint
from noisespace.models.base import Model
from noisespace.models.quantised import QUANTISED
from noisespace.pictures.describe import describe
from noisespace.system.fields import check_fields, fields_of

# More than a network whose guidance is an input was told in its training: other methods' 15 is
# another thing.
LARGEST_TOLD = 10.0


def method_name(method: Any) -> str:
    """The command line's name of a method."""
    return METHODS.name_of(method) or type(method).__name__


def method_defaults(model: Model, method: Any) -> Defaults:
    """The settings of a method on a model: its published ones, or those stored with the model."""
    published: Defaults = method.defaults
    if not model.has_text:
        return Defaults(usual_steps(model, published.steps), 1.0, 1.0)
    own = {
        **model.defaults.get("every", {}),
        **model.defaults.get("methods", {}).get(method_name(method), {}),
    }
    return Defaults(
        usual_steps(model, own.get("steps", published.steps)),
        own.get("invert", published.invert),
        own.get("edit", published.edit),
        published.null,
    )


def check_inversion(
    model: Model,
    method: Any,
    steps: Steps | None,
    guidance: float | None,
    checkpoint: str | Path | None,
    size: tuple[int, int] | None = None,
) -> tuple[Defaults, Grid, float]:
    """An inversion's defaults on a model, its grid and its w; InputError where it cannot run so.

    ``size``: height and width of the states, the model's own by default.
    """
    if isinstance(method, type) or not isinstance(method, Inversion):
        raise InputError(f"method must be an inversion such as EditFriendly(), got {method!r}")
    defaults = method_defaults(model, method)
    if defaults.null and model.has_text and not model.has_null:
        raise InputError(
            f"{method_name(method)} works on the null text, which the model {model.name} does not "
            "have (its network is told the guidance): use edit-friendly, ddim or another method"
        )
    if model.quantised and "recompute" in {field.name for field in fields_of(method)}:
        raise InputError(QUANTISED)  # what tunes something may recompute its passes
    grid = model.grid(defaults.steps if steps is None else steps, size)
    w = check_guidance(model, defaults.invert if guidance is None else guidance)
    check_method(method, grid)
    if checkpoint is not None and not getattr(method, "resumes", False):
        raise InputError(
            f"checkpoint: {describe(method)} keeps none; null-text (one embedding a step) and "
            "prompt-tuning do"
        )
    return defaults, grid, w


def check_method(method: Inversion, grid: Grid) -> None:
    """Raises InputError for fields of a method that do not fit: by themselves, or the grid."""
    check_fields(method)
    method.check(grid)


def checkpoint_of(
    path: str | Path | None, model: Model, settings: Sequence[Any], x: Tensor
) -> Checkpointing:
    """Where an optimisation keeps its state: only the same model, settings and images go on."""
    if path is None:
        return NoCheckpoint()
    of_model, of_images = [model.fingerprint, str(model.dtype)], describe(x.cpu().numpy())
    return Checkpoint(path, [*of_model, *settings, of_images])


def usual_steps(model: Model, steps: int) -> int:
    """A default number of steps, cut where the model was loaded with a preset that wants fewer."""
    return min(steps, model.defaults.get("most_steps", steps))


@dataclass(frozen=True)
class SampleDefaults:
    steps: int
    guidance: float


def sample_defaults(model: Model) -> SampleDefaults:
    own = model.defaults.get("sample", {})
    w = own.get("guidance", 7.5 if model.has_text else 1.0)
    return SampleDefaults(usual_steps(model, own.get("steps", 50)), w)


def check_guidance(model: Model, w: Any) -> float:
    """A guidance weight as float. Raises InputError for one that means nothing here."""
    w = check_weight(w)
    if not model.has_guidance and w != 1:
        why = "knows no guidance" if model.has_text else "is unconditional"
        raise InputError(f"the model {model.name} {why}, so guidance must be 1, got {w!r}")
    if model.has_null and w == 0 and sample_defaults(model).guidance == 1:
        warnings.warn(
            f"guidance 0 leaves the prompt out; what diffusers calls 0 for a model such as "
            f"{model.name}, whose guidance was distilled away, is 1 here",
            stacklevel=3,
        )
    if model.has_text and not model.has_null and w > LARGEST_TOLD:
        warnings.warn(
            f"guidance {w:g} is told to the network of {model.name}, which was trained on about 1 "
            f"to 5 (its own is {sample_defaults(model).guidance:g}): a smaller one is meant",
            stacklevel=3,
        )
    return w


def warn_of_guidance(code: Code, w: float | None) -> None:
    """Warns of a guidance other than the one that a code's embeddings were optimised for."""
    own = code.info.edit_guidance == code.guidance  # else the embeddings are of no guidance
    tuned = own and (code.null is not None or code.text is not None)
    if tuned and w is not None and w != code.guidance:
        warnings.warn(
            f"this code was optimised for guidance {code.guidance:g}; at {w:g} its reconstruction "
            "is no longer exact: invert again for that guidance",
            stacklevel=4,
        )


def check_weight(w: Any) -> float:
    """A guidance weight as float, whatever the model."""
    if isinstance(w, bool) or not isinstance(w, (int, float)) or not -1000 < w < 1000:
        raise InputError(
            f"guidance must be a number between -1000 and 1000 (1 means off), got {w!r}"
        )
    return float(w)


def spread(value: Any, count: int, what: str, kind: type) -> list:
    """One value for all images, or a list with one for each."""
    if isinstance(value, kind) and not isinstance(value, bool):
        return [value] * count
    if isinstance(value, (list, tuple)) and len(value) == count:
        given = list(value)
        if all(isinstance(v, kind) and not isinstance(v, bool) for v in given):
            return given
    raise InputError(
        f"{what} must be one {kind.__name__} or a list of {count} (one an image), got {value!r}"
    )


def nested_prompts(prompt: Any, images: int) -> list[list[str]]:
    """The prompts of every image: (images, any number of edits)."""
    if isinstance(prompt, str):
        return [[prompt]] * images
    values = list(prompt) if isinstance(prompt, Sequence) else None
    if not values:
        raise InputError(f"prompt must be a string or a list of strings, got {prompt!r}")
    if images == 1 and all(isinstance(v, str) for v in values):
        return [values]
    if len(values) != images:
        raise InputError(
            f"prompt must have one entry an image ({images}), each a string or a list of strings; "
            f"got {len(values)} entries"
        )
    rows = [[v] if isinstance(v, str) else list(v) for v in values]
    if not all(row and all(isinstance(v, str) for v in row) for row in rows):
        raise InputError(f"every prompt must be a string, got {prompt!r}")
    return rows


def negative_prompts(
    model: Model,
    negative: Any,
    images: int,
    code: Code | None = None,
    method: Inversion | None = None,
) -> list[str]:
    """The negative prompt of every image, [] where none is given.

    Raises InputError where no null text is left that it could stand in the place of: in the code,
    or in one that ``method`` will make.
    """
    if negative is None:
        return []
    if not model.has_null:
        raise InputError(
            f"the model {model.name} has no null text, whose place a negative prompt takes: leave "
            "out negative"
        )
    made = method is not None and method.defaults.null == "makes"
    if made if code is None else code.null is not None or code.info.negative:
        raise InputError(
            "this code brings its own null text (it is what its inversion found), whose place a "
            "negative prompt would take: leave out negative, or invert by another method"
        )
    return [Negative(one) for one in spread(negative, images, "negative", str)]


def generators(seeds: Sequence[int], purpose: str) -> list[torch.Generator]:
    """One generator a row, on the CPU: the seeds' streams for a purpose."""
    bad = [s for s in seeds if not -(2**63) <= s < 2**64]
    if bad:
        raise InputError(f"seed must fit in 64 bits, got {bad[0]}")
    return [stream(s, purpose) for s in seeds]


def cut_notice(text: Condition) -> str:
    """What of the prompts the tokenizer had no room for, one sentence; "" where all fits."""
    cut = [(p, c) for p, c in zip(text.prompts, text.cut, strict=False) if c]
    if not cut:
        return ""
    (prompt, lost), start = cut[0], 40
    words = lost if len(lost) <= 200 else f"{lost[:100]} ... {lost[-90:]}"
    named = prompt if len(prompt) <= start else f"{prompt[:start]}..."
    return f"the prompt {named!r} is too long for the model; this end of it was cut: {words!r}"
