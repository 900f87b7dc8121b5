"""The functions a user calls: invert once, edit many times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noisespace.code import Code, Info
from noisespace.describe import describe
from noisespace.editing import (
    AttentionMaps,
    Brief,
    Editor,
    word_maps,
)
from noisespace.editing.masks import mask_word
from noisespace.errors import InputError
from noisespace.intake import load_images, sample_size
from noisespace.inversion import EditFriendly, Inversion, Problem
from noisespace.inversion.parallel import Progress
from noisespace.inversion.parallel import freeze as freeze_code
from noisespace.models.adapters import adapted
from noisespace.models.base import Model
from noisespace.models.caching import loop_of
from noisespace.models.captioning import Captioner, captioner_for, captioner_of, who
from noisespace.prepare import (
    controls_of,
    embed,
    encoded,
    fitting,
    head,
    settled,
    sources,
    state_file,
)
from noisespace.replay import replay
from noisespace.result import Result, mask_pictures, model_record
from noisespace.rows import assemble, fresh_noise
from noisespace.run import Job, Run
from noisespace.settings import (
    check_guidance,
    generators,
    nested_prompts,
    sample_defaults,
    spread,
    warn_of_guidance,
)
from noisespace.version import VERSION


@torch.no_grad()
def invert(
    model: Model,
    image: Any,
    prompt: str | Sequence[str] | None = "",
    method: Inversion = EditFriendly(),  # frozen
    *,
    steps: int | None = None,
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
    ``steps`` and ``guidance`` default to the method's published ones, or the model's own.
    ``progress(done, total)`` is called on the way; raising in it cancels. ``checkpoint``: a file
    in which an optimisation (null-text, prompt tuning) keeps its state, so that the same call goes
    on from there after an interruption; it is removed at the end.

    Raises InputError, before any network runs, for input that cannot be inverted.
    """
    defaults, grid, w = settled(model, method, steps, guidance, checkpoint)
    pixels, info = load_images(model, image, method, size)
    count = len(pixels)
    writer = captioner_for(model, prompt, captioner, image)
    if writer is not None:
        prompt = writer(pixels)
    prompts = spread(prompt, count, "prompt", str)
    seeds = spread(seed, count, "seed", int)
    drawn = generators(seeds)
    text, null = embed(model, prompts), embed(model, [""] * count)
    kept = state_file(checkpoint, model, (describe(method), len(grid), w, prompts, seeds), pixels)
    x0 = pixels if isinstance(image, Tensor) else encoded(model, pixels)
    parts = (model.denoise, grid, x0, text, null, w, drawn, progress, kept)
    code = method.invert(Problem(*parts, model))
    kept.done()
    own = code.info.edit_guidance  # that of an optimisation
    return code.with_info(
        prompts=tuple(prompts),
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
    code = fitting(model, code)
    if not code.live:
        return code
    text, null = sources(model, code)
    return freeze_code(model.denoise, code, text, null, progress)


def edit(
    model: Model,
    code: Code,
    prompt: Any,
    *,
    guidance: float | None = None,
    editor: Editor | None = None,
    mask: Any = None,
    seed: int | Sequence[int] = 0,
) -> Result:
    """Replays a code under other prompts. Options as in ``edit_steps``.

    ``prompt``: for one image a string or a list (several edits in one batch); for b images a list
    of b entries, each a string or a list. Results are image-major.
    """
    options = {"guidance": guidance, "editor": editor, "mask": mask, "seed": seed}
    run = edit_steps(model, code, prompt, **options)
    for _ in run:
        pass
    return run.result


def edit_steps(
    model: Model,
    code: Code,
    prompt: Any,
    *,
    guidance: float | None = None,
    editor: Editor | None = None,
    mask: Any = None,
    seed: int | Sequence[int] = 0,
) -> Run:
    """As ``edit``, step by step: yields ``.index``, ``.total``, ``.preview()``; closing it cancels.

    ``guidance``: w of the targets (default: the code's, its method's or its model's own);
    ``editor``: what else to control; ``mask``: a painted mask outside which the source stays;
    ``seed``: of the fresh noise where the code leaves some (eta > 0 without a correction); a list
    has one an image.
    After the last step ``.result`` holds the Result.
    """
    code = fitting(model, code)
    own = code.info.edit_guidance
    warn_of_guidance(code, guidance)
    w = check_guidance(model, (own if own is not None else 7.5) if guidance is None else guidance)
    count = code.path.shape[1]
    rows, seeds = nested_prompts(prompt, count), spread(seed, count, "seed", int)
    text, null = sources(model, code)
    most = max(len(row) for row in rows)
    padded = [p for row in rows for p in [*row, *[row[-1]] * (most - len(row))]]
    targets = embed(model, padded)
    model = adapted(model, code)
    brief = Brief.of(model, code, (text, targets, null), (code.guidance, w))
    control = controls_of(model, brief, editor, mask)
    source = code.live or (control is not None and control.source)
    own = control.targets if control and control.targets else targets
    cast = assemble((text, own), null, (code.guidance, w), source)
    kept = [i * most + j for i, row in enumerate(rows) for j in range(len(row))]
    record = {
        **head("edit", model, code),
        "guidance": w,
        "seed": seed if isinstance(seed, int) else seeds,
        "editor": None if editor is None else describe(editor),
        "mask": mask_word(mask),
        "pictures": [{"prompt": p, "source": i} for i, row in enumerate(rows) for p in row],
    }
    each = len(cast.text) // count  # rows an image, image-major
    noise = fresh_noise(code, generators([s for s in seeds for _ in range(each)]))
    weights = control.mask if control else None
    shown = mask_pictures(weights, code, kept, most)
    loop = replay(loop_of(model), code, cast, control, noise)
    job = Job(model, code, cast, kept, record, shown, weights)
    return Run(job, loop, lambda: reconstruct(model, code))


@torch.no_grad()
def attention_maps(model: Model, code: Code, words: Sequence[str] | None = None) -> AttentionMaps:
    """Where the words of the source prompt look: cross-attention over the image.

    Averaged over a replay of the code under its own prompt, at the maps nearest to 16 x 16.
    ``words`` or phrases of the prompt (all words by default). Raises InputError for a word that the
    prompt lacks, saying which it has, and for a model without cross-attention.
    """
    code = fitting(model, code)
    if not model.has_text:
        raise InputError(f"the model {model.name} is unconditional: it has no attention to words")
    text, null = sources(model, code)
    w, model = code.guidance, adapted(model, code, source=True)
    words = [words] if isinstance(words, str) else words
    return word_maps(Brief.of(model, code, (text, text, null), (w, w)), words)


def reconstruct(model: Model, code: Code, *, guidance: float | None = None) -> Result:
    """A real replay of a code under its own prompt, never a decoding of the stored path."""
    code = freeze(model, code)
    w = check_guidance(model, code.guidance if guidance is None else guidance)
    model = adapted(model, code, source=True)
    text, null = sources(model, code)
    cast = assemble((text, None), null, (w, w), True)
    count = code.path.shape[1]
    record = {
        **head("reconstruct", model, code),
        "guidance": w,
        "pictures": [{"prompt": p, "source": i} for i, p in enumerate(text.prompts)],
    }
    noise = fresh_noise(code, generators([0] * count))
    loop = replay(loop_of(model), code, cast, None, noise)
    run = Run(Job(model, code, cast, list(range(count)), record), loop)
    for _ in run:
        pass
    return run.result


@torch.no_grad()
def sample(
    model: Model,
    prompt: str | Sequence[str] = "",
    *,
    steps: int | None = None,
    guidance: float | None = None,
    eta: float = 0.0,
    seed: int | Sequence[int] = 0,
    size: int | tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> Result:
    """Samples pictures: DDIM (eta = 0), DDPM (eta = 1) or between, one picture a prompt.

    A list of seeds with one prompt gives one picture a seed.
    """
    from noisespace.step import check_eta

    check_eta(eta)
    defaults = sample_defaults(model)
    count = 1 if isinstance(prompt, str) else len(prompt)
    count = max(count, 1 if isinstance(seed, int) else len(seed))
    prompts = spread(prompt, count, "prompt", str)
    seeds = spread(seed, count, "seed", int)
    w = check_guidance(model, defaults.guidance if guidance is None else guidance)
    grid = model.grid(defaults.steps if steps is None else steps)
    height, width = sample_size(model, size)
    drawn = generators(seeds)
    shape = (model.channels, height // model.factor, width // model.factor)
    start = torch.stack([torch.randn(shape, generator=g, dtype=model.state) for g in drawn])
    # Only the first level of the path is known: a sample has no source to come back to.
    path = start.to(model.device)[None].expand(len(grid) + 1, -1, -1, -1, -1)
    code = Code(grid, path, eta, info=Info(guidance=w, prompts=tuple(prompts)))
    text, null = embed(model, prompts), embed(model, [""] * count)
    cast = assemble((text, None), null, (w, w), True)
    record = {
        "noisespace": VERSION,
        "task": "sample",
        "model": model_record(model),
        "steps": len(grid),
        "guidance": w,
        "eta": eta,
        "size": [height, width],
        "pictures": [{"prompt": p, "seed": s} for p, s in zip(prompts, seeds, strict=True)],
    }
    loop = replay(loop_of(model), code, cast, None, fresh_noise(code, drawn))
    run = Run(Job(model, code, cast, list(range(count)), record), loop)
    for step in run:
        if progress:
            progress(step.index + 1, step.total)
    return run.result
