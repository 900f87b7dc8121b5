"""What a job leaves for its reader: summary.html with thumbnails, and failed.jsonl."""

from __future__ import annotations

import base64
import json
from collections import Counter
from importlib.resources import files
from io import BytesIO
from typing import Any

from PIL import Image

from noisespace.batch.places import StoreError, fetch
from noisespace.batch.records import read_records
from noisespace.batch.stores import Store
from noisespace.errors import InputError
from noisespace.pictures.decode import unpack

SHOWN, FAILURES = 48, 200  # rows of the page; failed.jsonl and the records have all
SIDE = 128  # pixels of a thumbnail
COLUMNS = ("id", "line", "image", "mask", "attempt", "reason")


def templates() -> Any:
    """jinja2. InputError where it is not installed."""
    try:
        import jinja2
    except ModuleNotFoundError:
        raise InputError("the summary needs jinja2; install noisespace[batch]") from None
    return jinja2


def unnamed(row: dict[str, Any]) -> str:
    """Why a row failed, without the names of its files: many rows have the same reason."""
    said = row["reason"]
    for place in filter(None, (row["image"], row["mask"])):
        said = said.replace(place, "...")
    return said


def write_summary(store: Store, total: int) -> list[str]:
    """Writes both and returns their names."""
    dead: list[dict[str, Any]] = []
    good: list[dict[str, Any]] = []
    reasons: Counter[str] = Counter()
    methods: Counter[str] = Counter()
    done, seconds = 0, 0.0
    for row in read_records(store):
        done, seconds = done + 1, seconds + (row["seconds"] or 0.0)
        methods[row["method"]] += 1
        if row["status"] != "ok":
            dead.append({name: row[name] for name in COLUMNS})
            reasons[unnamed(row)] += 1
        elif len(good) < SHOWN:
            good.append(row)
    lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in dead)
    store.put("failed.jsonl", lines.encode())
    page = rendered(
        counts={"rows": total, "done": done, "failed": len(dead), "seconds": seconds},
        rows=[shown(store, row) for row in good],
        dead=dead[:FAILURES],
        reasons=reasons.most_common(20),
        methods=methods.most_common(),
    )
    store.put("summary.html", page.encode())
    return ["summary.html", "failed.jsonl"]


def rendered(**values: Any) -> str:
    """The page; everything that comes from outside is escaped."""
    source = files("noisespace.batch").joinpath("page.html").read_text(encoding="utf-8")
    room = templates().Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return room.from_string(source).render(**values)


def shown(store: Store, row: dict[str, Any]) -> dict[str, Any]:
    """A row for the page: its image and edits as thumbnails."""
    try:
        before = thumbnail(Image.fromarray(unpack(fetch(row["image"]), row["image"])))
    except (InputError, StoreError):  # it may have gone since
        before = ""
    edits = []
    for name, target in zip(row["pictures"], row["targets"], strict=True):
        data = store.get(name)
        picture = "" if data is None else thumbnail(Image.open(BytesIO(data), formats=["PNG"]))
        edits.append({"picture": picture, "target": target, "path": name})
    return {"id": row["id"], "source": row["source"], "before": before, "edits": edits}


def thumbnail(picture: Image.Image) -> str:
    """A picture as a data URI, so that the page needs nothing else."""
    small = picture.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    buffer = BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
