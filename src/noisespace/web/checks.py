"""What is refused before it waits: a request that cannot be done here."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from noisespace.errors import InputError
from noisespace.web import requests as r
from noisespace.web.choices import editor_of, mask_of, method_of
from noisespace.web.limits import MIB


def weight(request: Any) -> int:
    """The bytes of the pictures that a waiting request holds."""
    held = 0
    for name in ("image", "mask"):
        value = getattr(request, name, None)
        held += value.nbytes if isinstance(value, np.ndarray) else 0
    for change in getattr(request, "operations", ()):
        if isinstance(change, r.Paint) and isinstance(change.strokes, Image.Image):
            held += 4 * change.strokes.width * change.strokes.height
    return held


def check_request(engine: Any, request: Any, owner: str) -> None:
    """Raises InputError, one sentence, for what an engine cannot do; nothing is denoised."""
    from noisespace.planning.settings import check_guidance

    if not isinstance(request, r.Request):
        raise InputError(f"expected a request, got {type(request).__name__}")
    model, limits = engine.model(request.model), engine.limits
    count = getattr(request, "variants", 1)
    if count > limits.variants:
        raise InputError(f"there may be at most {limits.variants} variants here, got {count}")
    key = getattr(request, "code", None)
    code = None if key is None else engine.code(key, owner)
    if code is not None:
        check_code(model, code)
        count = code.path.shape[1]
    if getattr(request, "image", None) is not None:
        check_image(model, request, limits)
    check_results(model, code, request, limits)
    if count * len(getattr(request, "targets", ())) > limits.rows:
        raise InputError(f"seeds times targets may be at most {limits.rows} here")
    combos = getattr(request, "combos", ())
    if len(combos) > limits.combos:
        raise InputError(f"a comparison may have at most {limits.combos} cells here")
    for part in (*combos, request):
        if (w := getattr(part, "guidance", None)) is not None:
            check_guidance(model, w)
    check_controls(model, code, request)


def check_code(model: Any, code: Any) -> None:
    """Refuses a code of another model, before it waits."""
    if code.info.fingerprint and code.info.fingerprint != model.fingerprint:
        raise InputError(
            f"this code was made with the model {code.info.model}, not with {model.name}: "
            "invert the image again"
        )


def check_image(model: Any, request: Any, limits: Any) -> None:
    """Refuses a picture, or settings, that cannot be inverted here."""
    from noisespace.pictures.decode import check_pixels
    from noisespace.pictures.images import fitted_size
    from noisespace.planning.settings import (
        check_guidance,
        check_method,
        generators,
        method_defaults,
    )

    height, width = request.image.shape[:2]
    check_pixels("the image", width, height, limits.pixels)
    options = {"target": model.resolution, "multiple": model.multiple}
    side, other = fitted_size((height, width), request.size, **options)
    check_pixels("the working size", other, side, limits.working_pixels)
    for method in {c.method for c in getattr(request, "combos", None) or [request]}:
        how = method_of(method)
        steps = request.steps or method_defaults(model, how).steps
        if steps > limits.steps:
            raise InputError(f"steps may be at most {limits.steps} here, got {steps}")
        check_method(how, model.grid(steps))
        places = side * other * model.channels * request.variants // model.factor**2
        if 8 * places * (steps + 1) > limits.cache_bytes:
            raise InputError(
                "this inversion would take more memory than this server gives to all: use fewer "
                "steps or variants, or a smaller size"
            )
    if request.source_guidance is not None:
        check_guidance(model, request.source_guidance)
    generators(request.seeds, "replay")


def check_results(model: Any, code: Any, request: Any, limits: Any) -> None:
    """Refuses a job whose pictures would take more than all finished jobs may."""
    height, width = size_of(model, code, request)
    count = getattr(request, "variants", 1) if code is None else code.path.shape[1]
    made = max(1, count * len(getattr(request, "targets", ())), len(getattr(request, "combos", ())))
    if isinstance(request, r.AttentionRequest):
        prompts = (request.source,) if code is None else code.info.prompts
        made = len(request.words) or max((len(p.split()) for p in prompts), default=1) or 1
    if made * height * width * 3 > limits.kept_bytes:
        raise InputError(
            f"this would make {made} pictures of {width} x {height}, more than the "
            f"{limits.kept_bytes / MIB:g} MiB that this server keeps: ask for fewer, or give a "
            "smaller picture"
        )


def size_of(model: Any, code: Any, request: Any) -> tuple[int, int]:
    """Height and width of the pictures that a request makes: those of what was given once."""
    if code is None:
        return request.image.shape[:2]
    if code.info.fit:
        return code.info.fit[0]["original"]
    height, width = code.path.shape[-2:]
    return height * model.factor, width * model.factor


def check_controls(model: Any, code: Any, request: Any) -> None:
    """Refuses an editor, mask or operation that cannot work on this picture."""
    from noisespace.pictures.images import Fit, fitted_size
    from noisespace.planning.plan import check_edit

    targets = getattr(request, "targets", None) or (getattr(request, "target", ""),)
    source, fit = getattr(request, "source", ""), None
    if code is not None:
        source = code.info.prompts[0] if code.info.prompts else ""
        fit = Fit(**code.info.fit[0]) if code.info.fit else None
    elif getattr(request, "image", None) is not None:
        own = request.image.shape[:2]
        options = {"target": model.resolution, "multiple": model.multiple}
        fit = Fit(own, fitted_size(own, request.size, **options))
    if fit is None or source.strip().lower() == "auto":
        return  # an unknown prompt cannot be looked into: the job itself says what does not fit
    mask = getattr(request, "mask", None)
    asked: dict[str, Any] = {"mask": mask_of(mask) if isinstance(mask, str) else mask}
    asked["operations"] = r.choices(getattr(request, "operations", ()))
    editors = {getattr(p, "editor", None) for p in getattr(request, "combos", None) or [request]}
    for editor in editors:
        check_edit(model, (source, targets), fit, editor=editor_of(editor), **asked)
