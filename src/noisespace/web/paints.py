"""Paint that browsers send: checked, bounded and kept until the page's event asks for it.

Gradio's mask editor posts its layers before the event that is about them. Gradio itself would keep
them without a bound, under ids of the client's choice, and decode them under limits of its own; so
they are taken here and gradio never sees them.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from PIL import Image

from noisespace.decode import check_pixels
from noisespace.errors import InputError
from noisespace.web.limits import MIB
from noisespace.web.multipart import FormPart

KINDS = ("PNG", "WEBP", "JPEG")
BYTES, PIXELS = 8 * MIB, 2048 * 2048  # of one layer; the canvas has 512 x 512
LAYERS = 4  # of one picture; the page's editors have one
FIELDS = {"component_id", "fn_name", "session_hash", "id", "type", "index"}
PARTS = len(FIELDS) + 1
ID = re.compile(r"[0-9a-zA-Z_-]{1,64}")


def check_head(data: bytes, name: str, kinds: Sequence[str], pixels: int) -> int:
    """How many pixels a picture has, by its header: nothing else is read.

    Raises InputError for what is no picture of these kinds by its first bytes, or too large.
    """
    try:
        with Image.open(BytesIO(data), formats=list(kinds)) as opened:
            check_pixels(name, *opened.size, pixels)
            return opened.size[0] * opened.size[1]
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(f"{name}: has more than the limit of {pixels} pixels") from None
    except Exception:  # Pillow's readers raise a dozen kinds on what is no picture
        known = ", ".join(kinds[:-1]) + f" or {kinds[-1]}"
        raise InputError(f"{name}: is not an image in a known format; expected {known}") from None


@dataclass
class Paint:
    """The layers of one picture as files, and when they came."""

    at: float
    layers: dict[int, bytes] = field(default_factory=dict)


class Paints:
    """Layers by editor and id: the oldest go first, bounded in number, bytes and time.

    ``editors``: the ids of the page's own mask editors; any other component is refused.
    """

    def __init__(
        self,
        most: int = 64,
        bytes: int = 64 * MIB,
        seconds: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.editors: frozenset[int] = frozenset()
        self._most, self._bytes, self._seconds, self._clock = most, bytes, seconds, clock
        self._kept: OrderedDict[tuple[int, str], Paint] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, parts: Sequence[FormPart]) -> None:
        """Takes what an editor posts. Raises InputError for anything else."""
        fields = {part.name: part.text for part in parts if part.file is None}
        files = [part for part in parts if part.file is not None]
        if set(fields) != FIELDS or len(files) != 1 or len(parts) != PARTS:
            raise InputError("this is not what the page's editor of masks sends")
        if fields["fn_name"] != "accept_blobs" or fields["component_id"] not in map(
            str, self.editors
        ):
            raise InputError("the page has no such component or function")
        key, kind, index = fields["id"], fields["type"], fields["index"]
        if not ID.fullmatch(key) or kind not in ("background", "composite", "layer"):
            raise InputError("this is not what the page's editor of masks sends")
        data = files[0].data
        if len(data) > BYTES:
            raise InputError(f"the paint: is larger than {BYTES // MIB} MiB, the limit")
        check_head(data, "the paint", KINDS, PIXELS)
        if kind == "layer":  # what is below it is known here
            if index not in map(str, range(LAYERS)):
                raise InputError(f"the paint may have {LAYERS} layers, counted from 0")
            self._keep((int(fields["component_id"]), key), int(index), data)

    def take(self, editor: int, key: Any) -> list[Image.Image]:
        """The layers of an id, lowest first, decoded; they are not kept any longer.

        Raises InputError where one is damaged.
        """
        with self._lock:
            paint = self._kept.pop((editor, str(key)), None)
        return [] if paint is None else [layer(paint.layers[k]) for k in sorted(paint.layers)]

    def _keep(self, key: tuple[int, str], index: int, data: bytes) -> None:
        with self._lock:
            now = self._clock()
            paint = self._kept.pop(key, None) or Paint(now)
            paint.layers[index] = data
            self._kept[key] = paint
            while self._kept:
                oldest = next(iter(self._kept.values()))
                late = now - oldest.at > self._seconds
                held = sum(len(d) for p in self._kept.values() for d in p.layers.values())
                if not late and len(self._kept) <= self._most and held <= self._bytes:
                    break
                self._kept.popitem(last=False)


def layer(data: bytes) -> Image.Image:
    """A layer's file as RGBA, under the caps. Raises InputError where it is damaged."""
    check_head(data, "the paint", KINDS, PIXELS)
    try:
        return Image.open(BytesIO(data), formats=list(KINDS)).convert("RGBA")
    except Exception:
        raise InputError("the paint is damaged: paint once more") from None
