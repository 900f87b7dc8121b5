"""The functions a user calls: invert once, edit many times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noisespace.core.code import Code
from noisespace.core.grid import Steps
from noisespace.editing import AttentionMaps, EditContext, Editor, word_maps
from noisespace.errors import InputError
from noisespace.inversion import EditFriendly, Inversion, Problem
from noisespace.inversion.parallel import freeze as freeze_code
from noisespace.inversion.problem import Progress
from noisespace.models.adapters import with_adapter
from noisespace.models.base import Model
from noisespace.models.judges.captioning import Captioner, captioner_for, captioner_of, who
from noisespace.pictures.describe import describe
from noisespace.planning.edit_run import EditRun
from noisespace.planning.inputs import embed, encode, latent_size, load_images
from noisespace.planning.plan import (
    fit_code,
    plan_edit,
    plan_reconstruction,
    plan_sample,
    source_conditions,
)
from noisespace.planning.result import Result
from noisespace.planning.settings import check_inversion, checkpoint_of, generators, spread
from noisespace.version import VERSION


@torch.no_grad()
def invert(
    model: Model,
    image: Any,
    prompt: str | Sequence[str] | None = "",
    method: Inversion = EditFriendly(),  # frozen
    *,
    steps: Steps | None = None,
    guidance: float | None = None,
    seed: int | Sequence[int] = 0,
    size: int | tuple[int, int] | None = None,
    progress: Progress | None = None,
    checkpoint: str | Path | None = None,
    captioner: str | Path | Captioner | None = None,
) -> Code:
    """Finds a trajectory of noise that gives an image back, and returns it as a Code.

    ``image``: path, PIL image or uint8 array (H, W, 3), or a list of them (one batch; then
    ``prompt`` and ``seed`` may be lists); a float tensor (b, c, h, w) is taken as latents.
    ``prompt`` None: what the ``captioner`` writes (see ``caption``); the code's info tells it.
    ``steps``: how many, or the timesteps themselves, noisiest first; ``steps`` and ``guidance``
    default to the method's published ones, or the model's own.
    ``progress(done, total)`` is called on the way; raising in it cancels. ``checkpoint``: a file
    in which an optimisation (null-text, prompt tuning) keeps its state, so that the same call goes
    on from there after an interruption; it is removed at the end.

    Raises InputError, before any network runs, for input that cannot be inverted.
    """
    pixels, info = load_images(model, image, method, size)
    latent = latent_size(model, image, pixels)
    defaults, grid, w = check_inversion(model, method, steps, guidance, checkpoint, latent)
    count = len(pixels)
    writer = captioner_for(model, prompt, captioner, image)
    if writer is not None:
        prompt = writer(pixels)
    prompts = spread(prompt, count, "prompt", str)
    drawn = generators(seeds := spread(seed, count, "seed", int), "invert")
    text, null = embed(model, prompts), embed(model, [None] * count)
    times = tuple(steps) if isinstance(steps, tuple | list) else ()
    settings = (describe(method), times or len(grid), w, prompts, seeds)
    kept = checkpoint_of(checkpoint, model, settings, pixels)
    x0 = pixels if isinstance(image, Tensor) else encode(model, pixels)
    code = method.invert(Problem(model, grid, x0, text, null, w, drawn, progress, kept))
    kept.done()
    own = code.info.edit_guidance  # that of an optimisation
    return code.with_info(
        prompts=tuple(prompts),
        timesteps=times,
        seeds=tuple(seeds),
        method=describe(method),
        edit_guidance=defaults.edit if own is None else own,
        model=model.name,
        fingerprint=model.fingerprint,
        dtype=str(model.dtype).removeprefix("torch."),
        version=VERSION,
        captioner="" if writer is None else who(writer),
        **info,
    )


@torch.no_grad()
def caption(
    model: Model,
    image: Any,
    captioner: str | Path | Captioner | None = None,
    *,
    size: int | tuple[int, int] | None = None,
) -> str | list[str]:
    """What an image shows, in words: a source prompt for those who have none.

    ``image``: path, PIL image or uint8 array (H, W, 3), for one caption; a list of them for a list.
    ``captioner``: None for the captions that the model knows (the embedded models know theirs: the
    one that their alignment model puts nearest is taken); else the folder or Hub id of a BLIP, or a
    function of pixels (b, 3, h, w) in [-1, 1] that returns b texts.

    Raises InputError where the model knows none, and for what is no captioner.
    """
    writer = captioner_of(model, captioner)
    pixels, _ = load_images(model, image, None, size)
    texts = writer(pixels)
    return texts if isinstance(image, (list, tuple)) else texts[0]


@torch.no_grad()
def freeze(model: Model, code: Code, *, progress: Progress | None = None) -> Code:
    """A live code with its residuals computed, so that it replays without a source row."""
    code = fit_code(model, code)
    if not code.live:
        return code
    return freeze_code(
        model, code, *source_conditions(model, code.info, code.path.shape[1]), progress
    )


def edit(
    model: Model,
    code: Code,
    prompt: Any,
    *,
    guidance: float | None = None,
    editor: Editor | None = None,
    mask: Any = None,
    seed: int | Sequence[int] = 0,
    negative: str | Sequence[str] | None = None,
) -> Result:
    """Replays a code under other prompts. Options as in ``edit_steps``.

    ``prompt``: for one image a string or a list (several edits in one batch); for b images a list
    of b entries, each a string or a list. Results are image-major.
    """
    options: dict[str, Any] = {"editor": editor, "mask": mask, "seed": seed, "negative": negative}
    return edit_steps(model, code, prompt, guidance=guidance, **options).finish()


def edit_steps(
    model: Model,
    code: Code,
    prompt: Any,
    *,
    guidance: float | None = None,
    editor: Editor | None = None,
    mask: Any = None,
    seed: int | Sequence[int] = 0,
    negative: str | Sequence[str] | None = None,
) -> EditRun:
    """As ``edit``, step by step: yields ``.index``, ``.total``, ``.preview()``; closing it cancels.

    ``guidance``: w of the targets (default: the code's, its method's or its model's own);
    ``editor``: what else to control; ``mask``: a painted mask outside which the source stays;
    ``seed``: of the fresh noise where the code leaves some (eta > 0 without a correction); a list
    has one an image; ``negative``: what the targets shall not show, in the place of the null text,
    for all images or a list with one for each.
    After the last step ``.result`` holds the Result.
    """
    options: dict[str, Any] = {"editor": editor, "mask": mask, "seed": seed, "negative": negative}
    plan = plan_edit(model, code, prompt, guidance, **options)
    return EditRun(plan, lambda: reconstruct(model, code))


@torch.no_grad()
def attention_maps(model: Model, code: Code, words: Sequence[str] | None = None) -> AttentionMaps:
    """Where the words of the source prompt look: cross-attention over the image.

    Averaged over a replay of the code under its own prompt, at the maps nearest to 16 x 16.
    ``words`` or phrases of the prompt (all words by default). Raises InputError for a word that the
    prompt lacks, saying which it has, and for a model without cross-attention.
    """
    code = fit_code(model, code)
    if not model.has_text:
        raise InputError(f"the model {model.name} is unconditional: it has no attention to words")
    text, null = source_conditions(model, code.info, code.path.shape[1])
    w, model = (
        code.guidance,
        with_adapter(model, {} if code.info.adapts == "targets" else code.adapter),
    )
    words = [words] if isinstance(words, str) else words
    return word_maps(EditContext(model, code, text, text, null, (w, w)), words)


def reconstruct(model: Model, code: Code, *, guidance: float | None = None) -> Result:
    """A real replay of a code under its own prompt, never a decoding of the stored path."""
    return EditRun(plan_reconstruction(model, freeze(model, code), guidance)).finish()


@torch.no_grad()
def sample(
    model: Model,
    prompt: str | Sequence[str] = "",
    *,
    steps: Steps | None = None,
    guidance: float | None = None,
    eta: float = 0.0,
    seed: int | Sequence[int] = 0,
    size: int | tuple[int, int] | None = None,
    negative: str | Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Result:
    """Samples pictures: DDIM (eta = 0), DDPM (eta = 1) or between, one picture a prompt.

    A list of seeds with one prompt gives one picture a seed; ``steps`` as in ``invert``.
    """
    count = 1 if isinstance(prompt, str) else len(prompt)
    count = max(count, 1 if isinstance(seed, int) else len(seed))
    prompts, seeds = spread(prompt, count, "prompt", str), spread(seed, count, "seed", int)
    options: dict[str, Any] = {"steps": steps, "guidance": guidance, "eta": eta, "size": size}
    plan = plan_sample(model, prompts, seeds, negative=negative, **options)
    return EditRun(plan).finish(progress)
