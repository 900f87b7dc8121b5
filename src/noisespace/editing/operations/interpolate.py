"""Between two codes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from noisespace.core.code import Code
from noisespace.editing.operations.noise_maps import note_operation, require_frozen
from noisespace.errors import InputError
from noisespace.models.base import Model


@torch.no_grad()
def interpolate(model: Model, a: Code, b: Code, t: float) -> Code:
    """A code between two: 0 gives ``a``, 1 gives ``b``.

    Slerp of the starts; the noise maps are mixed with weights sqrt(1 - t) and sqrt(t), which keep
    their variance where the two are independent. The prompt stays that of ``a``.
    """
    a, b = require_frozen(a, "interpolate"), require_frozen(b, "interpolate")
    if isinstance(t, bool) or not isinstance(t, (int, float)) or not 0 <= t <= 1:
        raise InputError(f"t must be in [0, 1], got {t!r}")
    same = (
        a.info.fingerprint == b.info.fingerprint
        and a.path.shape == b.path.shape
        and a.eta == b.eta
        and (a.residual is None) == (b.residual is None)
        and torch.equal(a.grid.alpha, b.grid.alpha)
        and (a.correct, a.rule, a.guidance) == (b.correct, b.rule, b.guidance)
    )
    if any(c.null is not None or c.text is not None or c.adapter for c in (a, b)):
        raise InputError(
            "interpolate mixes states and noise maps; these codes hold optimised embeddings or "
            "weights, which are each image's own: invert with edit-friendly or ddim"
        )
    if not same:
        raise InputError(
            "the codes do not fit together: interpolate wants the same model, size, steps, skip, "
            f"eta, method and guidance, got {a.method} {tuple(a.path.shape)} and "
            f"{b.method} {tuple(b.path.shape)}"
        )
    start = slerp(a.path[0], b.path[0], t)
    path = torch.cat([start[None], (1 - t) * a.path[1:] + t * b.path[1:]])
    residual = None
    if a.residual is not None and b.residual is not None:
        residual = (1 - t) ** 0.5 * a.residual + t**0.5 * b.residual
    # the finer lattice holds the points of the coarser; a code without one is rounded to none
    lattice = min(a.lattice, b.lattice)
    code = replace(a, path=path, residual=residual, lattice=lattice)
    code = note_operation(code, f"interpolate(t={t})")
    return code.with_info(image=(), seeds=a.info.seeds, lattice_margin=())


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Spherical interpolation, each image by itself: (b, c, h, w)."""
    x, y = a.flatten(1), b.flatten(1)
    cosine = torch.cosine_similarity(x, y, dim=1).clamp(-1, 1)
    angle = cosine.acos()[:, None]
    flat = angle.abs() < 1e-6
    safe = torch.where(flat, torch.ones_like(angle), angle)
    mixed = (torch.sin((1 - t) * safe) * x + torch.sin(t * safe) * y) / torch.sin(safe)
    return torch.where(flat, (1 - t) * x + t * y, mixed).view_as(a)
