"""Manifests of scenes, the command as a process, and what a job's folder holds."""

from __future__ import annotations

import json
import random
import sys
from dataclasses import replace

from PIL import Image

from noisespace.batch.records import read_rows
from noisespace.train.draw import random_scene
from noisespace.train.scenes import render_scenes

VARIES = {"seconds": None}


def content(out):
    """All that a job made, bar seconds: rows by id, and every picture's bytes."""
    rows = {row.id: replace(row, **VARIES) for row in read_rows(out)}
    files = {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.glob("*/??/*"))}
    return rows, files


def scenes_manifest(folder, count):
    """Held-out scenes with their captions, to be run by the command in a few steps."""
    folder.mkdir()
    rng, rows = random.Random("batch"), []
    for i in range(count):
        scene = random_scene(rng, True, objects=1)
        Image.fromarray(render_scenes([scene])[0]).save(folder / f"{i}.png")
        row = {"id": str(i), "image": f"{i}.png", "source": scene.caption}
        rows.append({**row, "target": f"{scene.caption} at night"})
    path = folder / "jobs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def command(path, out, *more):
    words = [sys.executable, "-m", "noisespace.cli", "batch", str(path), "--out", str(out)]
    return [*words, "--steps", "4", "--batch", "2", "--json", *more]
