"""The fields of requests: what each may hold, checked where it comes in."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from PIL import Image
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from noisespace.errors import InputError
from noisespace.pictures.decode import load, unpack
from noisespace.web.choices import LONGEST, editor_of, mask_of, method_of, operation_of
from noisespace.web.limits import MIB, Limits

LAST_SEED = 2**63 - 1


def picture_of(data: bytes, limits: Limits, name: str = "the image") -> np.ndarray:
    """The bytes of an image file from outside as uint8 (h, w, 3), caps before decoding."""
    if len(data) > limits.upload_bytes:
        raise InputError(
            f"{name}: is larger than {limits.upload_bytes / MIB:g} MiB, the limit; make it smaller"
        )
    return unpack(data, name, max_pixels=limits.pixels)


def _pixels(value: Any) -> Any:
    """PIL or an array as uint8 (h, w, 3); a text would be a path, which no client may name."""
    if isinstance(value, (Image.Image, np.ndarray)):
        return load(value)
    raise InputError(f"expected decoded pixels, got {type(value).__name__}")


def _mask(value: Any) -> Any:
    """A painted mask as uint8 (h, w), or the spec of what finds one."""
    from noisespace.editing.masks import as_grey

    if isinstance(value, str):
        if not value.strip():
            return None
        mask_of(value)
        return value
    if value is None or isinstance(value, (Image.Image, np.ndarray)):
        return None if value is None else as_grey(value)
    raise InputError(f"expected a painted mask or a spec, got {type(value).__name__}")


def _strokes(value: Any) -> Any:
    """Paint as an RGBA picture."""
    from noisespace.pictures.images import paint_layer

    if not isinstance(value, (Image.Image, np.ndarray)):
        raise InputError(f"expected strokes as pixels (RGBA), got {type(value).__name__}")
    return paint_layer(value)


def _checked(parse: Any) -> Any:
    def check(spec: Any) -> Any:
        if spec is not None:
            parse(spec)
        return spec

    return AfterValidator(check)


Pixels = Annotated[Any, BeforeValidator(_pixels)]
Mask = Annotated[Any, BeforeValidator(_mask)]
Strokes = Annotated[Any, BeforeValidator(_strokes)]
Spec = Annotated[str, Field(max_length=LONGEST)]
Method = Annotated[Spec, _checked(method_of)]
Editor = Annotated[Spec | None, _checked(editor_of)]
MaskSpec = Annotated[Spec, _checked(mask_of)]
Operation = Annotated[Spec, _checked(operation_of)]
Prompt = Annotated[str, Field(max_length=1000)]
Word = Annotated[str, Field(min_length=1, max_length=100)]
Weight = Annotated[float, Field(gt=-1000, lt=1000, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Key = Annotated[str, Field(pattern=r"^[0-9a-f]{16,64}$")]


class Part(BaseModel):
    """The base of requests and their parts: nothing unknown, nothing changed later."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
