"""What a job is asked for: checked when it is made, before anything of it runs.

The fields are those of the command line. Pictures are decoded pixels here: whoever takes bytes from
outside decodes them by ``fields.picture_of``, under the server's limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from noisespace.errors import InputError
from noisespace.web.choices import operation_of, with_field
from noisespace.web.fields import (
    LAST_SEED,
    Editor,
    Key,
    Mask,
    MaskSpec,
    Method,
    Operation,
    Part,
    Pixels,
    Prompt,
    Share,
    Strokes,
    Weight,
    Word,
)
from noisespace.web.fields import picture_of as picture_of


class Request(Part):
    """The base of every request. ``model``: one of the server's ("": its first)."""

    model: Annotated[str, Field(max_length=200)] = ""


class Inversion(Request):
    """How a picture is inverted. Left out, a setting is the method's published one or the model's.

    ``source``: what the picture shows ("auto": a captioner says it); ``variants``: so many seeds
    from ``seed`` on, in one batch; ``size``: the working size of the shorter side.
    """

    source: Prompt = ""
    method: Method = "edit-friendly"
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    source_guidance: Weight | None = None
    seed: Annotated[int, Field(ge=0, le=LAST_SEED - 1000)] = 0
    variants: Annotated[int, Field(ge=1, le=64)] = 1
    size: Annotated[int, Field(ge=8, le=4096, multiple_of=8)] | None = None

    @property
    def seeds(self) -> list[int]:
        return list(range(self.seed, self.seed + self.variants))


class EditSettings(Inversion):
    """What an edit shall be: every target for every seed."""

    targets: Annotated[tuple[Prompt, ...], Field(min_length=1, max_length=16)]
    editor: Editor = None
    guidance: Weight | None = None


class Combo(Part):
    """One cell of a comparison: a method, an editor and a guidance of the edit."""

    method: Method = "edit-friendly"
    editor: Editor = None
    guidance: Weight | None = None


class CompareSettings(Inversion):
    """Several settings on one picture; each of ``combos`` has its own method and one seed.

    ``columns``: how many cells a row of the grid has.
    """

    target: Prompt
    combos: Annotated[tuple[Combo, ...], Field(min_length=1, max_length=64)]
    columns: Annotated[int, Field(ge=1, le=64)] = 4


class AttentionSettings(Inversion):
    """Where words of the source prompt look; all of its words where none are given."""

    words: Annotated[tuple[Word, ...], Field(max_length=32)] = ()


class MaskSettings(Inversion):
    """The mask that ``diffedit:...`` or ``attention:word=...`` finds for one target."""

    target: Prompt = ""
    mask: MaskSpec = "diffedit"


class OnImage(Inversion):
    """A job on a picture, which is inverted unless that is known, or on a ``code``'s key."""

    image: Pixels | None = None
    code: Key | None = None

    def model_post_init(self, context: Any, /) -> None:
        if (self.image is None) == (self.code is None):
            raise InputError("give either an image or the key of a code")


class InvertRequest(Inversion):
    """Invert a picture, so that edits of it start at once."""

    image: Pixels


class Paint(Part):
    """Colour painted into the noise maps (ColorEdit): ``strokes`` are RGBA pixels."""

    strokes: Strokes
    strength: Annotated[float, Field(ge=0, le=100)] = 0.05
    window: tuple[Share, Share] = (0.0, 0.8)

    def choice(self) -> Any:
        """The operation itself."""
        from noisespace.editing import ColorEdit

        return ColorEdit(self.strokes, strength=self.strength, window=self.window)


Operations = Annotated[tuple[Operation | Paint, ...], Field(max_length=8)]


class EditRequest(EditSettings, OnImage):
    """Edit a picture; ``mask``: painted (uint8 (h, w), PIL) or the spec of what finds it.

    ``operations`` are done to the code first, such as ``shift:dx=8`` or paint.
    """

    mask: Mask = None
    operations: Operations = ()


class CompareRequest(CompareSettings):
    """Compare settings on a picture."""

    image: Pixels
    mask: Mask = None
    operations: Operations = ()

    @classmethod
    def methods(
        cls, methods: Any, editors: Any = (None,), guidance: Any = None, **rest: Any
    ) -> Any:
        """Every method with every editor, a row a method."""
        combos = tuple(
            Combo(method=m, editor=e, guidance=guidance) for m in methods for e in editors
        )
        return cls(combos=combos, columns=len(editors), **rest)

    @classmethod
    def skip_guidance(cls, method: str, skips: Any, guidances: Any, **rest: Any) -> Any:
        """A grid of skip (rows) and guidance (columns); ``rest`` may have an ``editor``."""
        editor = rest.pop("editor", None)
        combos = tuple(
            Combo(method=with_field(method, "skip", skip), editor=editor, guidance=w)
            for skip in skips
            for w in guidances
        )
        return cls(combos=combos, columns=len(guidances), **rest)


class AttentionRequest(AttentionSettings, OnImage):
    """Show where words look."""


class MaskRequest(MaskSettings, OnImage):
    """Find a mask."""


class OperationRequest(Request):
    """Operations on a code, one after another (``shift:dx=8,dy=-4`` or paint): a new code."""

    code: Key
    operations: Annotated[tuple[Operation | Paint, ...], Field(min_length=1, max_length=8)]


AnyRequest = (
    InvertRequest | EditRequest | CompareRequest | AttentionRequest | MaskRequest | OperationRequest
)


def choices(operations: Sequence[str | Paint]) -> list[Any]:
    """Operations as what does them."""
    return [o.choice() if isinstance(o, Paint) else operation_of(o) for o in operations]
