"""Manifests of small pictures, jobs over them, and all that a job leaves."""

import json
import subprocess
import sys
import time

import numpy as np
from PIL import Image

from noisespace.batch.job import planned, run_job
from noisespace.batch.local import Order
from noisespace.batch.plan import Choice, Settings
from noisespace.batch.records import read_records
from noisespace.batch.stores import store

CHOICE = Choice("edit-friendly:skip=1", steps=3, guidance=2.0)
SETTINGS = Settings("tiny", choice=CHOICE, batch=2)
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
PATIENCE = 600  # seconds
VARIES = ("seconds", "attempt", "line", "image", "mask")  # between runs of the same rows


def pixels(seed, size=(32, 32)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def rows_in(folder, count=7, **more):
    """Random pictures of two sizes and rows of two kinds of settings."""
    folder.mkdir(exist_ok=True, parents=True)
    rows = []
    for i in range(count):
        Image.fromarray(pixels(i, (32, 32) if i % 4 else (32, 48))).save(folder / f"{i}.png")
        row = {"id": f"r{i}", "image": f"{i}.png", "source": "a photo of a cat"}
        rows.append({**row, "target": ["a dog", "a horse"] if i % 2 else "a tiger", **more})
    return rows


def write(folder, rows, name="jobs.jsonl"):
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def go(manifest, out, settings=SETTINGS, engine="local", workers=1, **options):
    """Plans and runs a job."""
    order = Order(str(out), settings, "cpu", workers)
    return run_job(planned(manifest, settings), order, engine, **options)


def records(out):
    return {row["id"]: row for row in read_records(store(str(out)))}


def content(out):
    """Rows by id without what varies, and the bytes of every picture and code."""
    rows = {
        name: {k: v for k, v in row.items() if k not in VARIES}
        for name, row in records(out).items()
    }
    files = {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.glob("*/??/*"))}
    return rows, files


def command(manifest, out, model, *more):
    words = [sys.executable, "-m", "noisespace", "batch", str(manifest), "--out", str(out)]
    words += ["--model", str(model), "--method", "edit-friendly:skip=1", "--guidance", "2"]
    return [*words, "--steps", "3", "--batch", "2", "--json", *more]


def parts(out):
    """How many groups a job has recorded."""
    return len(list(out.glob("records/part-*")))


def waited(condition, process):
    """Until a condition holds, or the process has ended."""
    end = time.monotonic() + PATIENCE
    while not condition() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
