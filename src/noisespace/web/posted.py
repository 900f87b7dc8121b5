"""The bodies of the HTTP API: the settings of requests, with files as base64 or as uploads."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from noisespace.errors import InputError
from noisespace.pictures.decode import FORMATS
from noisespace.pictures.images import unpack_layer
from noisespace.web import requests as r
from noisespace.web.fields import Key, MaskSpec, Operation, Part, Share, picture_of
from noisespace.web.limits import TOGETHER, Limits
from noisespace.web.paints import check_head

File = Annotated[
    str,
    Field(
        description="A picture file (PNG, JPEG, WebP, BMP, TIFF or GIF) in base64.",
        json_schema_extra={"contentEncoding": "base64"},
    ),
]
Uploaded = Annotated[Key, Field(description="The key that /api/uploads gave.")]
CodeKey = Annotated[Key, Field(description="The key of a code that an earlier job gave.")]


class Posted(r.Inversion):
    """A picture to work on: ``image`` itself, or an ``upload``."""

    image: File | None = None
    upload: Uploaded | None = None


class PostedOrCode(Posted):
    """A picture to work on, or the ``code`` of one that is inverted already."""

    code: CodeKey | None = None


class WithMask(Part):
    """Where the picture may change: what finds the place, or a painted picture (white: yes)."""

    mask: MaskSpec | None = None
    mask_image: File | None = None


class InvertBody(Posted):
    """Invert a picture, so that edits of it start at once."""


class PaintBody(Part):
    """Colour painted into the noise maps; ``strokes``: a PNG with transparency."""

    strokes: File
    strength: Annotated[float, Field(ge=0, le=100)] = 0.05
    window: tuple[Share, Share] = (0.0, 0.8)


class WithOperations(Part):
    """What is done to the inverted picture's noise first: ``shift:dx=8``, or paint."""

    operations: Annotated[tuple[Operation | PaintBody, ...], Field(max_length=8)] = ()


class EditBody(r.EditSettings, PostedOrCode, WithMask, WithOperations):
    """Edit a picture: every target for every seed."""


class CompareBody(r.CompareSettings, Posted, WithMask, WithOperations):
    """Several settings on one picture, as a grid with figures."""


class AttentionBody(r.AttentionSettings, PostedOrCode):
    """Where the words of the source prompt look."""


class MaskBody(r.MaskSettings, PostedOrCode):
    """The mask that DiffEdit or a word's attention finds."""


class OperationBody(r.Request):
    """Operations on a code, one after another: a new code."""

    code: CodeKey
    operations: Annotated[tuple[Operation | PaintBody, ...], Field(min_length=1, max_length=8)]


KINDS = {
    InvertBody: r.InvertRequest,
    EditBody: r.EditRequest,
    CompareBody: r.CompareRequest,
    AttentionBody: r.AttentionRequest,
    MaskBody: r.MaskRequest,
    OperationBody: r.OperationRequest,
}
FILES = {"image", "upload", "mask_image", "operations"}


def data_of(text: str, name: str, limits: Limits) -> bytes:
    """Base64 as bytes, a data URL's head left away. Raises InputError for anything else."""
    if len(text) > limits.upload_bytes * 4 // 3 + 100:
        raise InputError(f"{name}: is larger than {limits.upload_bytes / 2**20:g} MiB, the limit")
    if text.startswith("data:image/"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InputError(f"{name}: is no base64 of a picture file") from None


def request_of(body: Any, uploaded: bytes | None, limits: Limits) -> Any:
    """The request that a body means, its files decoded under the limits."""
    given, operations = body.model_dump(exclude=FILES), getattr(body, "operations", ())
    if isinstance(body, Posted):
        named = (body.image, uploaded, getattr(body, "code", None))
        if sum(one is not None for one in named) != 1:
            raise InputError("give one of image, upload or (where it may be) code")
    if getattr(body, "mask", None) is not None and getattr(body, "mask_image", None) is not None:
        raise InputError("give either mask or mask_image")
    files = files_of(body, uploaded, limits)
    if len(files) > 1:  # in sum, before any is decoded; one alone is bounded when it is decoded
        heads = [check_head(data, name, FORMATS, limits.pixels) for name, data in files.items()]
        if sum(heads) > TOGETHER * limits.pixels:
            raise InputError("the pictures of this request have too many pixels in sum")
    if "image" in files:
        given["image"] = picture_of(files["image"], limits)
    if "mask_image" in files:
        given["mask"] = grey(picture_of(files["mask_image"], limits))
    if operations:
        given["operations"] = tuple(
            one if isinstance(one, str) else painted(one, files[f"strokes {at}"], limits)
            for at, one in enumerate(operations, 1)
        )
    return KINDS[type(body)](**given)


def files_of(body: Any, uploaded: bytes | None, limits: Limits) -> dict[str, bytes]:
    """The files of a body by what they are; nothing is decoded. Raises InputError for no base64."""
    found = {} if uploaded is None else {"image": uploaded}
    for name in ("image", "mask_image"):
        if (text := getattr(body, name, None)) is not None:
            found[name] = data_of(text, name, limits)
    for at, one in enumerate(getattr(body, "operations", ()), 1):
        if isinstance(one, PaintBody):
            found[f"strokes {at}"] = data_of(one.strokes, "strokes", limits)
    return found


def grey(picture: np.ndarray) -> np.ndarray:
    """A painted mask as uint8 (h, w)."""
    from noisespace.editing.masks import as_grey

    return as_grey(picture)


def painted(operation: PaintBody, data: bytes, limits: Limits) -> Any:
    """An operation with its strokes decoded."""
    layer = unpack_layer(data, "strokes", max_pixels=limits.pixels)
    return r.Paint(strokes=layer, strength=operation.strength, window=operation.window)
