"""The page of a batch job: what was done, what failed and why, thumbnails; needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from noisespace.batch.places import is_url
from noisespace.batch.records import Row, read_job, read_rows
from noisespace.errors import InputError
from noisespace.files import write_bytes

SHOWN = 48  # rows with pictures
SIDE = 128  # pixels of a thumbnail
LETTERS = 200  # failed rows that are listed

TEMPLATE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Batch: {{ rows }} rows</title>
<style>
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse } td, th { padding: .2rem .8rem .2rem 0; text-align: left }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1rem }
figure { margin: 0 } img { width: 8rem; image-rendering: auto; border-radius: 4px }
figcaption { font-size: .85rem; overflow-wrap: anywhere }
</style>
<h1>Batch of {{ rows }} rows</h1>
<p>{{ good }} done, {{ failed }} failed, {{ rows - good - failed }} to do; model
{{ job.settings.model }}; {{ "%.1f"|format(seconds) }} s of work.</p>
{% if letters %}<h2>What failed</h2>
<table><tr><th>id</th><th>why</th></tr>
{% for row in letters %}<tr><td>{{ row.id }}</td><td>{{ row.reason }}</td></tr>
{% endfor %}</table>{% endif %}
<h2>Pictures</h2>
<main>{% for row, before, after in shown %}<figure>
{% if before %}<img src="{{ before }}" alt="input of {{ row.id }}">{% endif %}
<img src="{{ after }}" alt="{{ row.targets[0] }}">
<figcaption>{{ row.id }}: {{ row.source }} &rarr; {{ row.targets[0] }}</figcaption></figure>
{% endfor %}</main>
"""


def write_page(out: Path) -> Path:
    """Writes OUT/index.html of what is there now; texts of the manifest are data, so escaped."""
    try:
        import jinja2
    except ModuleNotFoundError:
        raise InputError("the page needs jinja2; install noisespace[batch]") from None
    job = read_job(out)
    place = str(job.get("pictures", out))
    letters, shown, good, failed, seconds = [], [], 0, 0, 0.0
    for row in read_rows(out):
        seconds += row.seconds or 0.0
        if row.status != "ok":
            failed += 1
            letters += [row] if len(letters) < LETTERS else []
            continue
        good += 1
        if len(shown) < SHOWN and not is_url(place):
            shown += figures(row, Path(place))
    room = jinja2.Environment(autoescape=True)
    text = room.from_string(TEMPLATE).render(
        rows=job["manifest"]["rows"],
        good=good,
        failed=failed,
        seconds=seconds,
        job=job,
        letters=letters,
        shown=shown,
    )
    write_bytes(out / "index.html", text.encode(), force=True)
    return out / "index.html"


def figures(row: Row, place: Path) -> Iterator[tuple[Row, str, str]]:
    """A row with its input (where that is on this disk) and its first picture as data URLs."""
    after = thumbnail(place / row.pictures[0])
    if after:
        yield row, "" if is_url(row.image) else thumbnail(Path(row.image)), after


def thumbnail(path: Path) -> str:
    """A small JPEG as a data URL; "" where there is no picture (any more)."""
    from noisespace.decode import load

    try:
        picture = Image.fromarray(load(path))
    except InputError:
        return ""
    picture.thumbnail((SIDE, SIDE))
    buffer: Any = BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
