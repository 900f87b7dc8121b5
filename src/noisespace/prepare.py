"""What stands between a call and the loop: prompts embedded, codes checked, controls made."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noisespace.code import Code, Info
from noisespace.denoiser import Controls, Text
from noisespace.describe import describe
from noisespace.editing import Brief, Editor, keep_outside, latent_masks
from noisespace.errors import InputError
from noisespace.images import Fit
from noisespace.inversion import Defaults, Inversion
from noisespace.inversion.base import Kept, Nowhere
from noisespace.inversion.kept import Checkpoint
from noisespace.models.base import Model
from noisespace.parts import batch_rows, in_parts
from noisespace.result import model_record, source_record
from noisespace.schedule import Grid
from noisespace.settings import check_guidance, cut_notice, method_defaults
from noisespace.version import VERSION

# An encoder works on pixels: one of Stable Diffusion's takes as much memory a picture as eight rows
# of its U-Net, or more.
ENCODING = 8


def embed(model: Model, prompts: Sequence[str]) -> Text:
    """Embeds prompts; warns of what was cut."""
    text = embedded(model, prompts)
    if notice := cut_notice(text):
        warnings.warn(notice, stacklevel=3)
    return text


def embedded(model: Model, prompts: Sequence[str]) -> Text:
    """Prompts as embeddings, a row each; what is there several times is embedded once."""
    some = list(dict.fromkeys(prompts))
    place = {prompt: i for i, prompt in enumerate(some)}
    text = model.embed(some)
    return text if len(some) == len(prompts) else text.rows([place[p] for p in prompts])


def encoded(model: Model, pixels: Tensor) -> Tensor:
    """Pixels (b, 3, h, w) as latents, as many pictures at a time as memory holds."""
    like = pixels[..., :: model.factor, :: model.factor]
    return in_parts(model.encode, pixels, batch_rows(like, ENCODING))


def settled(
    model: Model,
    method: Any,
    steps: int | None,
    guidance: float | None,
    checkpoint: str | Path | None,
) -> tuple[Defaults, Grid, float]:
    """An inversion's defaults on a model, its grid and its w; InputError where it cannot run so."""
    if not isinstance(method, Inversion):
        raise InputError(f"method must be an inversion such as EditFriendly(), got {method!r}")
    defaults = method_defaults(model, method)
    grid = model.grid(defaults.steps if steps is None else steps)
    w = check_guidance(model, defaults.invert if guidance is None else guidance)
    method.check(grid)
    if checkpoint is not None and not getattr(method, "resumes", False):
        raise InputError(
            f"checkpoint: {describe(method)} keeps none; null-text (one embedding a step) and "
            "prompt-tuning do"
        )
    return defaults, grid, w


def state_file(path: str | Path | None, model: Model, settings: Sequence[Any], x: Tensor) -> Kept:
    """Where an optimisation keeps its state: only the same model, settings and images go on."""
    if path is None:
        return Nowhere()
    of_model, of_images = [model.fingerprint, str(model.dtype)], describe(x.cpu().numpy())
    return Checkpoint(path, [*of_model, *settings, of_images])


@torch.no_grad()
def controls_of(model: Model, brief: Brief, editor: Editor | None, mask: Any) -> Controls | None:
    """What an editor and a mask do in this edit; InputError where they cannot work."""
    controls = None
    if editor is not None:
        if not isinstance(editor, Editor) or isinstance(editor, type):
            raise InputError(f"editor must be an editor such as PromptToPrompt(), got {editor!r}")
        if not model.has_text:
            raise InputError(
                f"the model {model.name} is unconditional: it has no prompt for an editor to use"
            )
        controls = editor.controls(brief)
    if mask is None:
        return controls
    # painted, or lent by what finds one (DiffEdit, AttentionMask)
    if isinstance(mask, type):
        raise InputError(
            f"mask must be a picture or a mask such as {mask.__name__}(...), got a class"
        )
    lent: Any = getattr(mask, "mask", None)
    weights: Any = lent(brief) if callable(lent) else latent_masks(mask, brief)
    return keep_outside(controls, weights)


def fitting(model: Model, code: Code) -> Code:
    """The code on the model's device. Raises InputError for a code of another model."""
    if not isinstance(code, Code):
        raise InputError(
            f"expected a code (invert gives one, Code.load reads one), got {type(code).__name__}"
        )
    if code.info.fingerprint and code.info.fingerprint != model.fingerprint:
        raise InputError(
            f"this code was made with the model {code.info.model} "
            f"({code.info.fingerprint[:12]}), not with {model.name} ({model.fingerprint[:12]}): "
            "load that model, or invert the image again"
        )

    def moved(x: Tensor | None) -> Tensor | None:
        return None if x is None else x.to(model.device, model.state)

    names = ("path", "residual", "null", "text", "twin")
    adapter = {name: t.to(model.device) for name, t in code.adapter.items()}
    return replace(code, adapter=adapter, **{name: moved(getattr(code, name)) for name in names})


def sources(model: Model, code: Code) -> tuple[Text, Text]:
    """The code's own prompts and null prompts, embedded: one row an image."""
    prompts = code.info.prompts or ("",) * code.path.shape[1]
    negative = code.info.negative or ("",) * code.path.shape[1]
    both = embedded(model, [*prompts, *negative])
    return both.rows(range(len(prompts))), both.rows(range(len(prompts), len(both)))


def head(task: str, model: Model, code: Code) -> dict[str, Any]:
    """The head of a record."""
    return {
        "noisespace": VERSION,
        "task": task,
        "model": model_record(model),
        "source": source_record(code),
    }


def check_edit(
    model: Model,
    prompts: tuple[str, Sequence[str]],
    fit: Fit,
    *,
    editor: Any = None,
    mask: Any = None,
    operations: Sequence[Any] = (),
) -> None:
    """Raises what an edit would raise for its editor, mask and operations, before any network runs.

    ``prompts``: the source and its targets; ``fit``: the image's sizes. They are tried on an empty
    code of that shape: what would run the network has a ``check`` instead.
    """
    if editor is None and mask is None and not operations:
        return
    grid, (height, width) = model.grid(10), fit.size
    shape = (1, model.channels, height // model.factor, width // model.factor)
    path = torch.zeros(len(grid) + 1, *shape, dtype=model.state, device=model.device)
    code = Code(grid, path, info=Info(prompts=(prompts[0],), fit=(asdict(fit),)))
    for operation in operations:
        getattr(operation, "check", operation)(model, code)
    text, targets = model.embed([prompts[0]]), model.embed(list(prompts[1]))
    null = model.embed([""])
    brief = Brief.of(model, code, (text, targets, null), (1.0, 1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of steps: this code has others than the edit will
        if model.has_text and (check := getattr(editor, "check", None)):
            check(brief)
        else:
            controls_of(model, brief, editor, None)
    if check := getattr(mask, "check", None):
        check(brief)
    elif mask is not None:
        latent_masks(mask, brief)
