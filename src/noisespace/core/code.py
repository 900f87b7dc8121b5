"""What every inversion returns, and all that crosses from inversion to editing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from noisespace.core.grid import Grid, broadcast
from noisespace.core.guidance import Guidance
from noisespace.core.steps import Ancestral, Step
from noisespace.core.transition import posterior_std
from noisespace.errors import InputError


class Info(BaseModel):
    """What made a code: read from outside, so checked. One entry an image in each tuple.

    ``negative``: the null text's prompt; ``edit_guidance``: the w that an edit takes by default;
    ``fit``: how each image was brought to the model's resolution; ``image``: its pixels' sha256;
    ``operations``: what was done to the code since it was inverted; ``adapts``: which rows its
    adapter acts on, all of them or the targets alone; ``pivot_guidance``: the w of the path that an
    optimisation holds on to, where ``guidance`` is the one that it is for; ``captioner``: who
    wrote the prompts, "" where they were given; ``lattice_margin``: how often the measured spread
    of a mean goes into the lattice's spacing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompts: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    method: str = ""
    guidance: float = 1.0
    edit_guidance: float | None = None
    model: str = ""
    fingerprint: str = ""
    dtype: str = ""
    fit: tuple[dict[str, tuple[int, int]], ...] = ()
    image: tuple[str, ...] = ()
    version: str = ""
    operations: tuple[str, ...] = ()
    adapts: Literal["all", "targets"] = "all"
    pivot_guidance: float | None = None
    captioner: str = ""
    lattice_margin: tuple[int, ...] = ()
    timesteps: tuple[int, ...] = ()  # where they were given, and not only their number


@dataclass(frozen=True)
class Code:
    """A trajectory of the source and how to replay it (see docs/concepts.md).

    ``path`` (levels first..n, b, c, h, w): the source's state at each level, the last one its own
    latent; ``first``: the level a replay starts at; ``step``: how a replay goes from level to
    level, and which rows get ``residual_i = path[i+1] - mean_i(path[i])``; ``residual``
    (n - first, b, c, h, w) is frozen, or None where there is none or it is taken live from a source
    row; ``lattice``: the spacing of which all states of the path but the last are multiples, 0 for
    none. ``null``, ``text`` (n - first, b, l, d): optimised embeddings, one a step: the null text
    of every row, and the source's text, of which targets keep the share ``1 - blend``. ``kept``:
    what else the step needs of the source, by name, (any, b, ...). ``adapter``: of a fine-tuned
    network (see ``models.adapters``). ``rule``: guidance of its own.
    """

    grid: Grid
    path: Tensor
    step: Step = Ancestral()  # noqa: RUF009 - frozen
    residual: Tensor | None = None
    lattice: float = 0.0
    null: Tensor | None = None
    text: Tensor | None = None
    blend: float = 1.0
    kept: Mapping[str, Tensor] = field(default_factory=dict)
    adapter: Mapping[str, Tensor] = field(default_factory=dict)
    rule: Guidance = field(default_factory=Guidance)
    info: Info = field(default_factory=Info)

    @property
    def first(self) -> int:
        """The level that a replay starts at (so many steps of the grid are skipped)."""
        return len(self.grid) + 1 - len(self.path)

    @property
    def steps(self) -> int:
        """The steps of the whole grid, skipped ones included."""
        return len(self.grid)

    @property
    def eta(self) -> float:
        """How much noise a step adds: 0 is DDIM, 1 DDPM."""
        return self.step.eta

    @property
    def correct(self) -> str:
        """Which rows get the residual: "none", "source" or "all"."""
        return self.step.correct

    @property
    def live(self) -> bool:
        """Whether the correction is taken from a source row on the spot."""
        return self.correct != "none" and self.residual is None

    @property
    def guidance(self) -> float:
        """The w that the source was inverted with, and is replayed with."""
        return self.info.guidance

    @property
    def prompt(self) -> str | list[str]:
        """The source prompt; a list for several images."""
        return one_or_list(self.info.prompts)

    @property
    def seed(self) -> int | list[int]:
        """The seed of the inversion; a list for several images."""
        return one_or_list(self.info.seeds)

    @property
    def method(self) -> str:
        """The repr of the method that made it."""
        return self.info.method

    def with_info(self, **changes: Any) -> Code:
        """The same code with some of its ``info`` replaced."""
        return replace(self, info=self.info.model_copy(update=changes))

    def deviations(self) -> Tensor:
        """std of every executed step, (steps,) float64."""
        levels = torch.arange(self.first, len(self.grid))
        return posterior_std(self.grid.level(levels), self.grid.level(levels + 1), self.eta)

    def noise_maps(self) -> Tensor:
        """z_i = residual_i / std_i, (steps run, b, c, h, w); zeros where std = 0.

        arXiv 2304.06140, eq. 5. Raises InputError for a live code (``noisespace.freeze`` gives its
        maps) and for one that is replayed with fresh noise.
        """
        if self.residual is None:
            if self.live:
                raise InputError(
                    "a live code keeps no noise maps: noisespace.freeze(model, code) computes them"
                )
            if self.eta > 0:
                raise InputError(
                    f"{self.method or 'this method'} keeps no noise maps: its replay draws fresh "
                    "noise; invert with edit-friendly or cycle-diffusion"
                )
            return torch.zeros_like(self.path[1:])
        std = broadcast(self.deviations(), self.residual)
        return torch.where(std > 0, self.residual / std.where(std > 0, 1.0), 0.0)

    def map_tensors(self, change: Any) -> Code:
        """The code with ``change`` done to its tensors, (any, b, ...): states and embeddings."""
        named = {name: getattr(self, name) for name in ("path", "residual", "null", "text")}
        changed = {name: None if t is None else change(t) for name, t in named.items()}
        return replace(self, kept={n: change(t) for n, t in self.kept.items()}, **changed)

    def of_image(self, index: int) -> Code:
        """The code of one image of a batch, as if it had been inverted alone."""
        one = slice(index, index + 1)
        lists = ("prompts", "negative", "seeds", "fit", "image", "lattice_margin")
        own = {name: getattr(self.info, name)[one] for name in lists}
        return self.map_tensors(lambda x: x[:, one]).with_info(**own)

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Writes a safetensors file with a JSON header; never overwrites unless ``force``."""
        from noisespace.core.codefile import to_bytes
        from noisespace.system.files import write_bytes

        write_bytes(path, to_bytes(self), force=force)

    def to_bytes(self) -> bytes:
        """The contents of the file that ``save`` writes."""
        from noisespace.core.codefile import to_bytes

        return to_bytes(self)

    @classmethod
    def load(cls, path: str | Path) -> Code:
        """Reads what ``save`` wrote. Opens no pickle; raises InputError for anything else."""
        from noisespace.core.codefile import read

        return read(path)


def one_or_list(values: tuple) -> Any:
    """A single value as itself, several as a list."""
    return values[0] if len(values) == 1 else list(values)
