"""THE loop: every reconstruction, edit and sample is one replay of a code, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from noisespace.code import Code
from noisespace.denoiser import Controls, Denoiser, Text, Touch
from noisespace.errors import InputError
from noisespace.guidance import guided
from noisespace.parts import fitted
from noisespace.prediction import Prediction
from noisespace.step import posterior
from noisespace.stepper import Predict

Noise = Callable[[int], Tensor]  # step -> (images * rows, c, h, w), standard normal


@dataclass(frozen=True)
class Cast:
    """The rows of a replay: ``images`` images, each with the same number of rows, image-major.

    ``text`` and ``null`` (images * rows), ``guidance`` (images * rows,) one w a row. With
    ``source``, row 0 of every image is the source under the code's own prompt and guidance.
    """

    text: Text
    null: Text
    guidance: Tensor
    images: int
    source: bool

    @property
    def rows(self) -> int:
        return len(self.text) // self.images


@dataclass(frozen=True)
class Step:
    """One executed step: ``x`` the states after it and ``x0`` the clean images predicted in it.

    Both (images, rows, c, h, w). ``index`` counts executed steps from 0 to ``total - 1``.
    """

    index: int
    total: int
    x: Tensor
    x0: Tensor


def replay(
    denoise: Denoiser,
    code: Code,
    cast: Cast,
    controls: Controls | None = None,
    noise: Noise | None = None,
) -> Iterator[Step]:
    """Runs a code from its first level to the clean one, yielding one record a step.

    The mean of each step is DDIM's or DDPM's (by the code's eta) under the row's text and
    guidance; the code then says who gets which correction. Closing the generator cancels.
    ``noise`` is needed where eta > 0 leaves rows without a correction.
    """
    controls, denoise = controls or Controls(source=False), fitted(denoise)
    grid, total = code.grid, len(code.grid) - code.first
    unfold = (cast.images, cast.rows, *code.path.shape[2:])
    starts = [code.path[0]] if code.twin is None else [code.path[0], code.twin]
    states = [start.repeat_interleave(cast.rows, 0) for start in starts]
    current = 1 if code.coupling is None else code.coupling.current
    for k in range(total):
        i = code.first + k
        if controls.before:
            now = [controls.before(k, x.view(unfold)).flatten(0, 1) for x in states[:current]]
            states = now + states[current:]
        predict = predictor(denoise, code, cast, controls, k)
        if code.coupling is None:
            prediction = predict(states[0], i)
            mean, std = posterior(prediction, grid.level(i), grid.level(i + 1), code.eta)
            x = corrected(code, cast, k, mean.view(unfold))
            if noise is not None and std > 0:
                x = renoised(code, cast, x, std.to(x) * noise(k).view(unfold))
            states = [x]
        else:
            pair, prediction = code.coupling.down(predict, grid, i, (states[0], states[1]))
            states = [x.view(unfold) for x in pair]
        if controls.after:
            states = [controls.after(k, x) for x in states[:current]] + states[current:]
        if not torch.isfinite(states[0]).all():
            raise InputError(
                f"the network returned NaN or infinity at step {k + 1} of {total}: "
                "use float32, or a smaller guidance"
            )
        yield Step(k, total, states[0], prediction.x0.view(unfold))
        states = [x.flatten(0, 1) for x in states]


def predictor(denoise: Denoiser, code: Code, cast: Cast, controls: Controls, k: int) -> Predict:
    """The network under everything that step k puts around it: (x, level index) -> Prediction."""
    text, null = embeddings(code, cast, k)
    anchor = code.path[-1].repeat_interleave(cast.rows, 0)
    call = guided(denoise, null, cast.guidance, code.rule, anchor)
    if controls.around:
        call = controls.around(k, call)
    touch = Touch(controls, k, cast.images, cast.rows) if controls.inside else None

    def predict(x: Tensor, i: int) -> Prediction:
        level = code.grid.level(i)
        prediction = call(x, level, text, touch)
        return controls.guide(k, x, level, prediction) if controls.guide else prediction

    return predict


def corrected(code: Code, cast: Cast, k: int, mean: Tensor) -> Tensor:
    """Adds the step's residual to whom the code gives it; mean (images, rows, c, h, w).

    A live code has no residual: the source row's own mean gives it on the spot, and the source row
    is *assigned* its path, since mean + (path - mean) would round.
    """
    if code.correct == "none":
        return mean
    if code.residual is not None:
        residual = code.residual[k][:, None]
    elif cast.source:
        residual = code.path[k + 1][:, None] - mean[:, :1]
    else:
        raise InputError("a live code needs its source row: replay it with one, or freeze it")
    if code.correct == "all":
        x = mean + residual
    else:
        x = torch.cat([mean[:, :1] + residual, mean[:, 1:]], dim=1) if cast.source else mean
    if code.residual is None:
        x = torch.cat([code.path[k + 1][:, None], x[:, 1:]], dim=1)
    return x


def renoised(code: Code, cast: Cast, x: Tensor, fresh: Tensor) -> Tensor:
    """Adds fresh noise to the rows that get no correction (all, or all but the source)."""
    if code.correct == "none":
        return x + fresh
    if code.correct == "source" and cast.source:
        return torch.cat([x[:, :1], (x + fresh)[:, 1:]], dim=1)
    return x


def embeddings(code: Code, cast: Cast, k: int) -> tuple[Text, Text]:
    """The text and null text of step k, with the code's own per-step embeddings put in.

    An optimised null embedding serves every row; an optimised text embedding the source row and,
    by the share ``1 - blend``, the targets.
    """
    text, null = cast.text, cast.null
    if code.null is not None:
        null = null.embedded(code.null[k].repeat_interleave(cast.rows, 0))
    if code.text is not None:
        tuned = code.text[k].repeat_interleave(cast.rows, 0).to(text.embedding)
        share = torch.full((len(text), 1, 1), code.blend).to(tuned)
        if cast.source:
            share[:: cast.rows] = 0
        text = text.embedded(torch.lerp(tuned, text.embedding, share))
    return text, null
