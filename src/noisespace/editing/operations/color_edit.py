"""ColorEdit: paint colour into the noise maps; texture stays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Interval
from PIL import Image, ImageColor
from torch import Tensor

from noisespace.core.batching import batch_rows, in_batches
from noisespace.core.code import Code
from noisespace.core.grid import broadcast
from noisespace.core.guidance import under_guidance
from noisespace.editing.context import Window, executed_steps
from noisespace.editing.masks import as_grey, check_aspect
from noisespace.editing.operations.noise_maps import note_operation, require_frozen
from noisespace.errors import InputError
from noisespace.models.base import Model
from noisespace.pictures import images
from noisespace.system.fields import Slider, check_fields


@dataclass(frozen=True)
class ColorEdit:
    """Paints colour into the noise maps: z_t += strength * B * (M - P(f_t(x_t))).

    arXiv 2304.06140, sec. 3.2. M is the image with ``strokes`` (an RGBA picture of its size, or
    with ``color`` inside ``mask``) painted over it, B where paint is (it counts where it covers at
    least half of a latent position), P the prediction along the code's path. ``window``: the share
    of the executed steps in which it acts; ``strength``: how much of the colour each of them adds.
    Texture stays, also under the paint, which SDEdit from the same strokes loses. Every image of a
    code gets the same paint.
    """

    strokes: Any = None
    color: Any = None
    mask: Any = None
    strength: Annotated[float, Interval(ge=0), Slider(0, 0.3, 0.01)] = 0.05
    window: Window = (0.0, 0.8)

    def check(self, model: Model, code: Code) -> None:
        """InputError for fields that do not fit, before any network runs."""
        check_fields(self)
        executed_steps(self.window, len(code.path) - 1, "window")
        painted = as_grey(self.mask).shape if self.strokes is None and self.mask is not None else ()
        if painted:
            check_aspect(painted, code)
        h, w = code.path.shape[-2:]
        self.inside(self.layer((w * model.factor, h * model.factor)), (h, w))

    @torch.no_grad()
    def __call__(self, model: Model, code: Code) -> Code:
        code = require_frozen(code, "ColorEdit")
        self.check(model, code)
        if code.residual is None or code.eta == 0:
            raise InputError(
                "ColorEdit paints into noise maps, and this code has none: invert with "
                "edit-friendly or cycle-diffusion"
            )
        steps = executed_steps(self.window, len(code.residual), "window")
        goal, inside = self.goal(model, code)
        residual = code.residual.clone()
        clean = predict_path(model, code, steps)
        std = broadcast(code.deviations(), residual)[steps.start : steps.stop]
        added = std * self.strength * inside * (goal - clean)
        residual[steps.start : steps.stop] += added
        return note_operation(replace(code, residual=residual), self)

    def goal(self, model: Model, code: Code) -> tuple[Tensor, Tensor]:
        """M of each image as latents (b, c, h, w), and B (1, 1, h, w) of 0 and 1."""
        h, w = code.path.shape[-2] * model.factor, code.path.shape[-1] * model.factor
        layer = self.layer((w, h))
        inside = self.inside(layer, (code.path.shape[-2], code.path.shape[-1]))
        goals = []
        for below in images.to_images(model.decode(code.path[-1])):
            over = Image.alpha_composite(Image.fromarray(below).convert("RGBA"), layer)
            pixels = images.to_tensor(np.array(over)[..., :3].copy())
            goals.append(model.encode(pixels.to(model.state_dtype)))
        goal = torch.cat(goals)
        return goal, torch.from_numpy(inside).to(goal)[None, None]

    @staticmethod
    def inside(layer: Image.Image, latent: tuple[int, int]) -> np.ndarray:
        """Which latent positions are painted, bool (h, w). Raises InputError where none is."""
        small = layer.getchannel("A").resize((latent[1], latent[0]), Image.Resampling.BOX)
        covered = np.array(small) > 127
        if not covered.any():
            raise InputError(
                "nothing is painted: the strokes (or the mask) cover no latent position by half; "
                "paint more, or more opaque"
            )
        return covered

    def layer(self, size: tuple[int, int]) -> Image.Image:
        """The paint as RGBA at the working size."""
        if (self.strokes is None) == (self.color is None):
            raise InputError("give either strokes (an RGBA picture) or color with a mask")
        if self.strokes is not None:
            layer = images.paint_layer(self.strokes)
            return layer.resize(size, Image.Resampling.LANCZOS)
        if self.mask is None:
            raise InputError("color needs a mask: white where it is to be painted")
        try:
            colour = ImageColor.getrgb(self.color) if isinstance(self.color, str) else self.color
            flat = Image.new("RGB", size, tuple(colour))
        except (ValueError, TypeError) as error:
            raise InputError(f"color {self.color!r} is none that can be read: {error}") from None
        flat.putalpha(Image.fromarray(as_grey(self.mask)).resize(size, Image.Resampling.BOX))
        return flat


def predict_path(model: Model, code: Code, steps: range) -> Tensor:
    """P(f_t(x_t)) along the code's path for some executed steps, (steps, b, c, h, w)."""
    text = model.embed(code.info.prompts)
    null = model.embed(code.info.negative or (None,) * len(text))
    count = code.path.shape[1]
    states = code.path[steps.start : steps.stop].flatten(0, 1)
    out = torch.empty_like(states)

    def work(rows: Tensor) -> None:
        image, level = rows % count, code.first + steps.start + rows // count
        predict = under_guidance(model, null.rows(image), code.guidance, code.rule)
        out[rows] = predict(states[rows], code.grid.level(level), text.rows(image)).x0

    in_batches(work, len(states), batch_rows(states, 2))
    return out.unflatten(0, (len(steps), count))
