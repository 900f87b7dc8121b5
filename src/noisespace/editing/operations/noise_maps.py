"""What operations on a code share. Its noise maps carry the image, so editing them edits it.

arXiv 2304.06140, sec. 3.2. All act on the residuals (std * noise map), right on every step.
"""

from __future__ import annotations

from noisespace.core.code import Code
from noisespace.errors import InputError
from noisespace.pictures.describe import describe


def require_frozen(code: Code, what: str) -> Code:
    """Refuses a live code: its maps do not exist yet."""
    if not isinstance(code, Code):
        raise InputError(f"{what} takes a code, got {type(code).__name__}")
    if code.live:
        raise InputError(f"{what} needs noise maps: noisespace.freeze(model, code) computes them")
    if code.kept:
        raise InputError(
            f"{what} changes one state a step; this code holds two coupled ones ({code.method}): "
            "invert with edit-friendly or cycle-diffusion"
        )
    return code


def note_operation(code: Code, what: object) -> Code:
    """The code with the operation written into its record."""
    return code.with_info(
        operations=(*code.info.operations, what if isinstance(what, str) else describe(what))
    )
