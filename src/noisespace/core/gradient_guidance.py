"""Guidance by gradients of any differentiable score of the predicted clean image.

Denoiser in, denoiser out. With the score log p(y | x0) this is classifier guidance
(arXiv 2105.05233, eq. 14), taken at the predicted x0, so that a score of clean images serves every
noise level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from noisespace.core.backbone import Denoiser
from noisespace.core.condition import Condition
from noisespace.core.controls import HookContext
from noisespace.core.grid import Level
from noisespace.core.prediction import Prediction
from noisespace.errors import InputError

# (pixels (rows, 3, H, W) about [-1, 1], prompts of the rows) -> (rows,), higher is better
Score = Callable[[Tensor, Sequence[str]], Tensor]
Decode = Callable[[Tensor], Tensor]


def with_score(
    denoise: Denoiser,
    score: Score,
    decode: Decode,
    scale: float = 1.0,
    *,
    chosen: Tensor | None = None,
    through: bool = True,
) -> Denoiser:
    """A denoiser whose noise is moved up a score: eps - scale * sigma * grad_x score(x0(x)).

    ``score`` sees the decoded prediction of x0. ``chosen``: the rows that are guided (all by
    default). ``through``: differentiate through the network (exact); without it the prediction's
    noise is taken as constant, which costs no backward pass of the network and is what makes large
    models affordable (cf. arXiv 2303.09833).
    """

    def denoise_guided(
        x: Tensor, level: Level, condition: Condition, hooks: HookContext | None = None
    ) -> Prediction:
        if not bool((level.alpha > 0).all()):
            return denoise(x, level, condition, hooks)  # without signal, noise does not move x0
        tuned = torch.is_grad_enabled()  # an embedding or adapter that somebody differentiates by
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            if through:
                seen = prediction = denoise(at, level, condition, hooks)
            else:
                with torch.set_grad_enabled(tuned):
                    prediction = denoise(x, level, condition, hooks)
                seen = Prediction.from_eps(prediction.eps, at, level)
            rows = torch.arange(len(x), device=x.device) if chosen is None else chosen.to(x.device)
            prompts = [condition.prompts[int(i)] for i in rows]
            value = check_score_value(score(decode(seen.x0[rows]), prompts), len(rows))
            (slope,) = torch.autograd.grad(value.sum(), at, retain_graph=tuned)
        if not torch.isfinite(slope).all():
            raise InputError(
                "the gradient of the score is not finite: keep the score away from log(0), or use "
                "a smaller scale"
            )
        moved = torch.zeros_like(x).index_copy(0, rows, slope[rows])
        if not tuned:
            prediction = prediction.map(prediction, lambda view, _: view.detach())
        return prediction.plus_eps(-scale * level.amplitudes(x)[1] * moved, level)

    return denoise_guided


def check_score_value(value: Tensor, rows: int) -> Tensor:
    """Refuses a score that cannot guide."""
    if not isinstance(value, Tensor) or value.shape != (rows,):
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise InputError(f"a score must give one number a picture, a tensor ({rows},); got {shape}")
    if not value.requires_grad:
        raise InputError(
            "the score is not differentiable: compute it from the pixels in torch, without detach, "
            "argmax, rounding or numpy"
        )
    return value


def check_scale(name: str, value: Any) -> None:
    """Raises InputError for a weight that is no finite number."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not known or not -1e9 < value < 1e9:
        raise InputError(f"{name} must be a finite number, got {value!r}")


def try_score(score: Score, prompt: str, size: tuple[int, int]) -> None:
    """Raises InputError for a score that cannot guide, before any network runs."""
    if not callable(score):
        raise InputError(f"score must be a function of (pixels, prompts), got {score!r}")
    with torch.enable_grad():
        pixels = torch.zeros(1, 3, *size, requires_grad=True)
        try:
            value = score(pixels, [prompt])
        except InputError:
            raise
        except Exception as error:  # whatever a user's own function does
            raise InputError(
                f"the score failed on (1, 3, {size[0]}, {size[1]}) pixels and one prompt: "
                f"{type(error).__name__}: {error}"
            ) from error
        value = check_score_value(value, 1)
        (slope,) = torch.autograd.grad(value.sum(), pixels, allow_unused=True)
    if slope is None:
        raise InputError("the score is not differentiable: it does not depend on the pixels")
