"""Methods to compare, each one line: ``INVERSION [+ EDITOR] [@ SETTING=VALUE,...]``.

    edit-friendly:skip=.36 + prompt-to-prompt:cross=.8,blend=own @ guidance=7.5,mask=own
    null-text @ steps=50,guidance=7.5
    nothing

Inversions and editors are written as on the command line; "+" and "@" stand between spaces (a "+"
without them is part of a value). Settings: ``guidance``, ``source-guidance``, ``steps``, and
``mask``: ``own``, the case's, or ``diffedit``. ``blend=own``: each case's own words. ``nothing``
gives the input itself, ``autoencoder`` what the model's autoencoder makes of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from noisespace.bench.cases import Case
from noisespace.editing import DiffEdit
from noisespace.errors import InputError
from noisespace.models.base import Model
from noisespace.pictures.describe import describe
from noisespace.pictures.images import Fit, fitted_size
from noisespace.planning.parsing import parse_choice, parse_editor, parse_method
from noisespace.planning.plan import check_edit
from noisespace.planning.settings import check_guidance, check_inversion

PLAIN = ("nothing", "autoencoder")
OWN = "own"
TRIED = 8  # cases that an editor is tried on before any network runs


@dataclass(frozen=True)
class Settings:
    """What stands behind the @ of a method; None is the default of the method or the model."""

    guidance: float | None = None
    source_guidance: float | None = None
    steps: int | None = None
    mask: str | None = None


@dataclass(frozen=True)
class Method:
    """One way to edit: an inversion, what controls the edit, and settings.

    ``name``: as it was written, which tells methods apart; ``inversion`` None: one of PLAIN.
    """

    name: str
    inversion: Any = None
    editor: Any = None
    settings: Settings = Settings()

    @property
    def alone(self) -> bool:
        """Whether its words differ from case to case, so that it edits one image at a time."""
        return getattr(self.editor, "blend", None) == OWN

    @property
    def shared(self) -> str:
        """What its inversion depends on: methods that say the same here share it."""
        if self.inversion is None:
            return self.name
        return describe((self.inversion, self.settings.steps, self.settings.source_guidance))

    def control(self, case: Case) -> Any:
        """The editor for one case: with the case's own words where it asks for them."""
        return replace(self.editor, blend=case.about.get("blend")) if self.alone else self.editor

    def mask(self, case: Case) -> Any:
        """The mask for one case, None without one. InputError where the case has none to give."""
        if self.settings.mask != OWN:
            return DiffEdit() if self.settings.mask else None
        found = case.where()
        if found is None:
            raise InputError(f"case {case.id} has no mask for mask=own")
        return found

    def described(self) -> dict[str, Any]:
        """What tells whether two runs mean the same by a name."""
        return {
            "method": self.name,
            "inversion": describe(self.inversion),
            "editor": describe(self.editor),
            "settings": describe(self.settings),
        }


def parse_line(line: str) -> Method:
    """One method as written. Raises InputError for what it cannot be."""
    name = " ".join(line.split())
    left, at, right = (part.strip() for part in _split(name, "@"))
    first, plus, second = (part.strip() for part in _split(left, "+"))
    if not first or (plus and not second) or (at and not right):
        raise InputError(
            f"got the method {line!r}, expected INVERSION [+ EDITOR] [@ SETTING=VALUE,...], such "
            'as "ddim + prompt-to-prompt:cross=.8 @ guidance=7.5"'
        )
    if first in PLAIN:
        if plus or at:
            raise InputError(f"{first} takes no editor and no settings, got {line!r}")
        return Method(name)
    given = right.replace("source-guidance", "source_guidance")
    settings = parse_choice(f"settings:{given}", "method", {"settings": Settings})
    if settings.mask not in (None, OWN, "diffedit"):
        raise InputError(f"mask of a method must be own or diffedit, got {settings.mask!r}")
    return Method(name, parse_method(first), parse_editor(second) if plus else None, settings)


def _split(text: str, sign: str) -> tuple[str, str, str]:
    """A text before and after the first sign that stands between spaces."""
    parts = re.split(rf"(?:^|\s)(\{sign})(?:\s|$)", text, maxsplit=1)
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else (text, "", "")


def parse_lines(lines: Sequence[str]) -> list[Method]:
    """Several methods. Raises InputError for none, and where two are the same."""
    methods = [parse_line(line) for line in lines]
    if not methods:
        raise InputError('got no method, expected some such as "edit-friendly" or "nothing"')
    told: dict[str, str] = {}
    for method in methods:
        same = describe((method.inversion, method.editor, method.settings))
        key = same if method.inversion is not None else method.name
        if key in told:
            raise InputError(f"the methods {told[key]!r} and {method.name!r} are the same")
        told[key] = method.name
    return methods


def check_methods(
    model: Model, methods: Sequence[Method], cases: Sequence[Case], size: Any = None
) -> None:
    """Raises InputError, before any network runs, for methods that cannot run on this model."""
    for method in methods:
        if method.inversion is None:
            continue
        own = method.settings
        try:
            check_inversion(model, method.inversion, own.steps, own.source_guidance, None)
            if own.guidance is not None:
                check_guidance(model, own.guidance)
            if method.editor is not None or own.mask is not None:
                check_some(model, method, cases, size)
        except InputError as error:
            raise InputError(f"{method.name}: {error}") from None


def check_some(model: Model, method: Method, cases: Sequence[Case], size: Any) -> None:
    """Raises what an editor or mask has against the first cases, where it fits none of them.

    One that fits some is for the run: the others are failed rows there.
    """
    errors = []
    for case in cases[:TRIED]:
        try:
            original = case.size()
            fitted = fitted_size(original, size, target=model.resolution, multiple=model.multiple)
            controls = {"editor": method.control(case), "mask": method.mask(case)}
            prompts = (case.source, [case.target])
            return check_edit(model, prompts, Fit(original, fitted), **controls)
        except InputError as error:
            errors.append(error)
    if errors:
        raise errors[0]
