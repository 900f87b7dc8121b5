"""What an edit, a reconstruction and a sample are planned to be: all that the loop needs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from noisespace.core.code import Code, Info
from noisespace.core.condition import Condition
from noisespace.core.controls import Controls
from noisespace.core.grid import Steps
from noisespace.core.replay import EditPlan
from noisespace.core.rows import Rows, fresh_noise
from noisespace.core.steps import Ancestral, Consistency
from noisespace.core.transition import check_eta
from noisespace.editing import EditContext, Editor, keep_outside, latent_masks
from noisespace.editing.masks import mask_word
from noisespace.errors import InputError
from noisespace.models.adapters import with_adapter
from noisespace.models.base import Model
from noisespace.pictures.describe import describe
from noisespace.pictures.images import Fit
from noisespace.planning.inpainting import with_told_mask
from noisespace.planning.inputs import embed, embed_each, sample_size
from noisespace.planning.result import model_record, source_record, timesteps_record
from noisespace.planning.settings import (
    check_guidance,
    generators,
    negative_prompts,
    nested_prompts,
    sample_defaults,
    spread,
    warn_of_guidance,
)
from noisespace.system.fields import check_fields
from noisespace.version import VERSION


@torch.no_grad()
def plan_edit(
    model: Model,
    code: Code,
    prompt: Any,
    guidance: float | None = None,
    *,
    editor: Editor | None = None,
    mask: Any = None,
    seed: int | Sequence[int] = 0,
    negative: str | Sequence[str] | None = None,
) -> EditPlan:
    """An edit of a code as ``noisespace.edit`` describes it; InputError where it cannot be."""
    code = fit_code(model, code)
    own, count = code.info.edit_guidance, code.path.shape[1]
    warn_of_guidance(code, guidance)
    w = check_guidance(model, (own if own is not None else 7.5) if guidance is None else guidance)
    prompts, seeds = nested_prompts(prompt, count), spread(seed, count, "seed", int)
    negatives = negative_prompts(model, negative, count, code)
    source, null = source_conditions(model, code.info, count)
    most = max(len(row) for row in prompts)
    targets = embed(model, [p for row in prompts for p in [*row, *[row[-1]] * (most - len(row))]])
    model = with_adapter(model, code.adapter)
    context = EditContext(model, code, source, targets, null, (code.guidance, w))
    controls = controls_of(context, editor, mask)
    both = (source, controls.targets or targets)
    rows = Rows.of(both, null, context.guidance, code.live or controls.source)
    if negatives:
        rows = rows.with_negative(embed(model, negatives))
    if model.paints and controls.mask is not None:
        rows = with_told_mask(model, rows, code, controls.mask)
    record = {
        **head("edit", model, source_record(code)),
        "guidance": w,
        **({"negative": negatives} if negatives else {}),
        "seed": seed if isinstance(seed, int) else seeds,
        "editor": None if editor is None else describe(editor),
        "mask": mask_word(mask),
        "pictures": [{"prompt": p, "source": i} for i, row in enumerate(prompts) for p in row],
    }
    drawn = generators([s for s in seeds for _ in range(rows.each)], "replay")
    shown = tuple(i * most + j for i, row in enumerate(prompts) for j in range(len(row)))
    return EditPlan(model, code, rows, controls, fresh_noise(code.path, drawn), shown, record)


@torch.no_grad()
def plan_reconstruction(model: Model, code: Code, guidance: float | None = None) -> EditPlan:
    """A replay of a frozen code under its own prompt."""
    w = check_guidance(model, code.guidance if guidance is None else guidance)
    count = code.path.shape[1]
    source, null = source_conditions(model, code.info, count)
    model = with_adapter(model, {} if code.info.adapts == "targets" else code.adapter)
    rows = Rows.of((source, None), null, (w, w), True)
    record = {
        **head("reconstruct", model, source_record(code)),
        "guidance": w,
        "pictures": [{"prompt": p, "source": i} for i, p in enumerate(source.prompts)],
    }
    noise = fresh_noise(code.path, generators([0] * count, "replay"))
    return EditPlan(model, code, rows, noise=noise, record=record)


@torch.no_grad()
def plan_sample(
    model: Model,
    prompts: list[str],
    seeds: list[int],
    *,
    steps: Steps | None = None,
    guidance: float | None = None,
    eta: float = 0.0,
    size: int | tuple[int, int] | None = None,
    negative: str | Sequence[str] | None = None,
) -> EditPlan:
    """Samples, one a prompt and seed, as the replay of a code of which the start alone is known."""
    check_eta(eta)
    defaults = sample_defaults(model)
    w = check_guidance(model, defaults.guidance if guidance is None else guidance)
    height, width = sample_size(model, size)
    shape = (model.channels, height // model.factor, width // model.factor)
    grid = model.grid(defaults.steps if steps is None else steps, (shape[1], shape[2]))
    drawn = generators(seeds, "sample")
    start = torch.stack([torch.randn(shape, generator=g, dtype=model.state_dtype) for g in drawn])
    path = start.to(model.device)[None].expand(len(grid) + 1, *start.shape)
    if model.renoises and eta:
        raise InputError(
            f"samples of {model.name} are noised anew at each step, which leaves eta nothing to "
            f"say: leave it out, got {eta!r}"
        )
    step = Consistency() if model.renoises else Ancestral(eta)
    code = Code(grid, path, step, info=Info(guidance=w, prompts=tuple(prompts)))
    negatives = negative_prompts(model, negative, len(prompts))
    text, null = embed(model, prompts), embed(model, negatives or [None] * len(prompts))
    record = {
        "noisespace": VERSION,
        "task": "sample",
        "model": model_record(model),
        "steps": len(grid),
        **timesteps_record(steps),
        "guidance": w,
        **({"negative": negatives} if negatives else {}),
        "eta": eta,
        "size": [height, width],
        "pictures": [{"prompt": p, "seed": s} for p, s in zip(prompts, seeds, strict=True)],
    }
    rows = Rows.of((text, None), null, (w, w), True)
    return EditPlan(model, code, rows, noise=fresh_noise(path, drawn), record=record)


@torch.no_grad()
def controls_of(context: EditContext, editor: Editor | None, mask: Any) -> Controls:
    """What an editor and a mask do in this edit; InputError where they cannot work."""
    controls = Controls(source=False)
    if editor is not None:
        if not isinstance(editor, Editor) or isinstance(editor, type):
            raise InputError(f"editor must be an editor such as PromptToPrompt(), got {editor!r}")
        if not context.model.has_text:
            raise InputError(
                f"the model {context.model.name} is unconditional: it has no prompt for an editor "
                "to use"
            )
        check_fields(editor)
        controls = editor.controls(context)
    if mask is None:
        return controls
    # painted, or lent by what finds one (DiffEdit, AttentionMask)
    if isinstance(mask, type):
        raise InputError(
            f"mask must be a picture or a mask such as {mask.__name__}(...), got a class"
        )
    check_fields(mask)
    find: Any = getattr(mask, "mask", None)
    weights: Any = find(context) if callable(find) else latent_masks(mask, context)
    return keep_outside(controls, weights)


def fit_code(model: Model, code: Code) -> Code:
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
    adapter = {name: t.to(model.device) for name, t in code.adapter.items()}
    moved = code.map_tensors(lambda x: x.to(model.device, model.state_dtype))
    return replace(moved, adapter=adapter)


def source_conditions(model: Model, info: Info, count: int) -> tuple[Condition, Condition]:
    """A code's own prompts and null prompts, embedded: one row an image."""
    both = embed_each(model, [*(info.prompts or [""] * count), *(info.negative or [None] * count)])
    return both.rows(range(count)), both.rows(range(count, 2 * count))


def head(task: str, model: Model, source: dict[str, Any]) -> dict[str, Any]:
    """The head of a record."""
    return {"noisespace": VERSION, "task": task, "model": model_record(model), "source": source}


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
    height, width = fit.size
    shape = (1, model.channels, height // model.factor, width // model.factor)
    grid = model.grid(10, (shape[2], shape[3]))
    path = torch.zeros(len(grid) + 1, *shape, dtype=model.state_dtype, device=model.device)
    code = Code(grid, path, info=Info(prompts=(prompts[0],), fit=(asdict(fit),)))
    for operation in operations:
        getattr(operation, "check", operation)(model, code)
    source, targets = model.embed([prompts[0]]), model.embed(list(prompts[1]))
    context = EditContext(model, code, source, targets, model.embed([None]), (1.0, 1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of steps: this code has others than the edit will
        if model.has_text and (check := getattr(editor, "check", None)):
            check_fields(editor)
            check(context)
        else:
            controls_of(context, editor, None)
    check_fields(mask)
    if check := getattr(mask, "check", None):
        check(context)
    elif mask is not None:
        latent_masks(mask, context)
