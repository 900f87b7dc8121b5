"""What every editor is given and what it must offer."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, runtime_checkable

from annotated_types import Interval
from torch import Tensor

from noisespace.core.code import Code
from noisespace.core.condition import Condition
from noisespace.core.controls import Controls, Site
from noisespace.errors import InputError

Window = Annotated[
    float | tuple[float, float],
    Interval(ge=0, le=1),
    "a share of the steps in [0, 1], or (start, end)",
]


@dataclass(frozen=True)
class EditContext:
    """An edit to prepare: images x rows, row 0 the source, image-major.

    ``model``: a ``models.base.Model``; ``source`` (images) and ``targets`` (images * each): their
    conditions; ``null`` (images): the null texts; ``guidance``: w of the source and the targets.
    """

    model: Any
    code: Code
    source: Condition
    targets: Condition
    null: Condition
    guidance: tuple[float, float]

    @property
    def images(self) -> int:
        return len(self.source)

    @property
    def each(self) -> int:
        """Targets an image."""
        return len(self.targets) // self.images

    @property
    def total(self) -> int:
        """The steps that a replay of the code executes."""
        return len(self.code.path) - 1

    @property
    def latent(self) -> tuple[int, int]:
        """Height and width of the states."""
        return self.code.path.shape[-2], self.code.path.shape[-1]

    def pairs(self) -> list[tuple[int, int]]:
        """(row of ``source``, row of ``targets``) of every edit, image-major."""
        return [(i, i * self.each + j) for i in range(self.images) for j in range(self.each)]

    def find(self, kind: str, editor: str) -> list[Site]:
        """The sites of a kind. Raises InputError, saying what there is, where there are none."""
        found = [site for site in self.model.sites() if site.kind == kind]
        if not found:
            kinds = sorted({site.kind for site in self.model.sites()})
            what = "feature blocks" if kind == "feature" else f"{kind}-attention"
            raise InputError(
                f"{editor} needs a model with {what}; this one has {', '.join(kinds) or 'none'}"
            )
        return found


@runtime_checkable
class Editor(Protocol):
    """A frozen dataclass: its fields are the hyper-parameters, its repr the record."""

    def controls(self, context: EditContext) -> Controls:
        """The controls of one replay. Raises InputError for fields that do not fit the edit.

        Each field's type and range are checked before (``system.fields.check_fields``).
        """
        ...


def executed_steps(window: float | tuple[float, float], total: int, what: str) -> range:
    """The executed steps inside a window of shares: one number is (0, number).

    Raises InputError for a window outside [0, 1]. Windows are counted in the steps that run, not in
    those of the grid: a skip does not shorten an editor's work.
    """
    start, end = window if isinstance(window, (tuple, list)) else (0.0, window)
    if not all(isinstance(v, (int, float)) for v in (start, end)) or not 0 <= start <= end <= 1:
        raise InputError(
            f"{what} must be a share of the steps in [0, 1], or (start, end), got {window!r}"
        )
    return range(round(start * total), round(end * total))


def first_step(step: float, total: int, what: str) -> int:
    """A number of executed steps (int) or a share of them (float) as a number of steps."""
    if isinstance(step, bool) or not isinstance(step, (int, float)) or step < 0:
        raise InputError(f"{what} must be a number of steps or a share of them, got {step!r}")
    if isinstance(step, float):
        if step > 1:
            raise InputError(f"{what} as a share must be in [0, 1], got {step!r}")
        return round(step * total)
    if step >= total:
        warnings.warn(
            f"{what} {step} is past the last of the {total} steps that run: it does nothing",
            stacklevel=2,
        )
    return step


def copy_source(x: Tensor) -> Tensor:
    """Row 0, the source's, in every row: x (guide, image, row, ...)."""
    return x[:, :, :1].expand_as(x)


def nearest_scale(sites: Sequence[Site], latent: tuple[int, int], side: int = 16) -> int:
    """The scale whose maps come nearest to ``side`` positions along the shorter side.

    On Stable Diffusion's 64 x 64 latents that is 16 x 16, where Prompt-to-Prompt reads its maps.
    """

    def away(scale: int) -> float:
        size = min(latent) / scale
        return max(size / side, side / size)

    return min(sorted({site.scale for site in sites}), key=away)
