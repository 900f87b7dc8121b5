"""What the page says while it works: a bar, the time left, the picture so far, or what is wrong."""

from __future__ import annotations

import base64
import html
import io
from typing import Any

from PIL import Image

from noisespace.web.jobs import PARTS

IDLE = "Drop a photo, say what it shows and what it shall show, then press <b>Edit</b>."
READY = "Say what the photo shows and what it shall show, then press <b>Edit</b>."
LARGEST = 320  # pixels of a preview's longer side


def panel(text: str, kind: str = "", *, done: float | None = None, picture: Any = None) -> str:
    """A box with a sentence; ``done`` in [0, 1] draws a bar, ``picture`` is shown below.

    ``kind``: "", "error" or "done". The text is escaped: it may hold prompts and file names.
    """
    said = html.escape(text)
    role = "alert" if kind == "error" else "status"
    # steps come many times a second: a screen reader asks the bar for them
    live = ' aria-live="off"' if done is not None else ""
    parts = [f'<p class="says" role="{role}"{live}>{said}</p>']
    if done is not None:
        percent = round(100 * min(max(done, 0.0), 1.0))
        parts.append(
            f'<div class="bar" role="progressbar" aria-label="progress" aria-valuemin="0" '
            f'aria-valuemax="100" aria-valuenow="{percent}"><div style="width:{percent}%"></div>'
            "</div>"
        )
    if picture is not None:
        parts.append(f'<img alt="the picture as it stands" src="{data_uri(picture)}">')
    return f'<div class="panel {kind}">{"".join(parts)}</div>'


def idle(photo: Any = None) -> str:
    """What to do next, without a photo or with one."""
    said = IDLE if photo is None else READY
    return f'<div class="panel"><p class="says">{said}</p></div>'


def data_uri(picture: Image.Image) -> str:
    """A small picture inside the page itself: nothing is stored, nothing is fetched."""
    small = picture.convert("RGB")
    small.thumbnail((LARGEST, LARGEST))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG" if max(small.size) > 128 else "PNG")
    kind = "jpeg" if max(small.size) > 128 else "png"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def seconds(value: float) -> str:
    """``1.9 s``, or minutes where it takes long."""
    if value >= 90:
        return f"{value / 60:.0f} min"
    return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"


def under_way(view: Any) -> str:
    """``Editing, step 3 of 32, 4.1 s left`` or the place in the queue, of a job's view."""
    if view.state == "waiting":
        ahead = view.position - 1
        return f"Waiting: {ahead} before you." if ahead > 0 else "Waiting: you are next."
    at = f", step {view.index} of {view.total}" if view.total else ""
    if view.stage == "comparing" and view.total:
        many = view.total // PARTS
        at = f", picture {min(view.index // PARTS + 1, many)} of {many}"
    left = f", {seconds(view.eta)} left" if view.eta else ""
    return f"{view.stage.capitalize() or 'Working'}{at}{left}"
