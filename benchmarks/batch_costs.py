"""What a million images cost beside the network: reading, decoding, writing, and the bookkeeping.

    python benchmarks/batch_costs.py [--rows 1000000] [--side 512] [--out runs/batch-costs]

Times of one thread, medians: an image of photograph-like content read, decoded, packed as PNG with
a record and written to a folder and (with moto, a local server of the protocol: the client's cost,
not a network's) to a bucket; a manifest of ``--rows`` rows read and checked; its journal written as
shards and read again, as a restart does; memory of both. Writes OUT/costs.json and prints what N
accelerators need at several seconds an image.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from noisespace.batch.job import planned
from noisespace.batch.places import fetch
from noisespace.batch.plan import Choice, Settings
from noisespace.batch.records import FOLDER, SPAN, Record, arrow, known, parquet, schema
from noisespace.batch.stores import Store, content_name, store
from noisespace.pictures.decode import unpack
from noisespace.pictures.metadata import png_bytes

TIMES = 9
BATCH = 8
RATES = (0.1, 0.3, 1.0, 3.0)  # seconds of an accelerator an image


def timed(work: Callable[[], Any], times: int = TIMES) -> float:
    """Median seconds of a piece of work, after one that does not count."""
    work()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return median(found)


def photograph(side: int) -> np.ndarray:
    """A picture whose spectrum falls as that of photographs does (1/f), with a camera's noise."""
    rng = np.random.default_rng(0)
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    f[0, 0] = np.inf
    channels = []
    for _ in range(3):
        wave = np.fft.fft2(rng.standard_normal((side, side))) / f
        plane = np.real(np.fft.ifft2(wave))
        channels.append(128 + 45 * plane / plane.std() + 1.5 * rng.standard_normal((side, side)))
    return np.clip(np.stack(channels, -1), 0, 255).astype(np.uint8)


def images(side: int, out: Path) -> dict[str, Any]:
    """Seconds and bytes of one image on its way through a job."""
    pixels, place = photograph(side), store(str(out / "pictures"))
    path, jpeg = out / "in.png", out / "in.jpg"
    Image.fromarray(pixels).save(path)
    Image.fromarray(pixels).save(jpeg, quality=92)
    record = {"prompt": "x" * 400, "settings": {str(k): k for k in range(40)}}
    data = png_bytes(pixels, record)
    found = {
        "png_mb": len(data) / 1e6,
        "read": timed(lambda: fetch(str(path))),
        "decode_png": timed(lambda: unpack(path.read_bytes(), "in.png")),
        "decode_jpeg": timed(lambda: unpack(jpeg.read_bytes(), "in.jpg")),
        "pack_png": timed(lambda: png_bytes(pixels, record)),
        "name": timed(lambda: content_name(data, "pictures", ".png")),
        "write_folder": timed(lambda: place.put("a.png", data)),
    }
    with bucket(out) as address:
        if address:
            there = store(address)
            found["write_bucket"] = timed(lambda: there.put("a.png", data))
            found["read_bucket"] = timed(lambda: fetch(f"{address}/a.png"))
    return found


@contextmanager
def bucket(out: Path) -> Iterator[str | None]:
    """A bucket of a local server, None where moto is missing."""
    try:
        from moto.server import ThreadedMotoServer
    except ImportError:
        yield None
        return
    import s3fs

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    os.environ |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
    os.environ["AWS_ENDPOINT_URL"] = f"http://{host}:{port}"
    s3fs.S3FileSystem().makedirs("costs", exist_ok=True)
    try:
        yield "s3://costs/job"
    finally:
        server.stop()


def manifest(rows: int, out: Path) -> dict[str, Any]:
    """Seconds and memory of a manifest, read, checked and put into groups."""
    path = out / "jobs.jsonl"
    with path.open("w") as file:
        for k in range(rows):
            row = {"id": f"{k:09d}", "image": f"s3://shop/in/{k:09d}.png"}
            file.write(json.dumps({**row, "source": "a cat", "target": "a dog"}) + "\n")
    before, start = memory(), time.perf_counter()
    plan = planned(str(path), Settings(choice=Choice(steps=50), batch=BATCH))
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "mb": memory() - before, "groups": len(plan.groups)}


def journal(rows: int, place: Store) -> dict[str, Any]:
    """Seconds and memory of a restart's look at the records of a job that is done."""
    each = SPAN * BATCH
    for number, first in enumerate(range(0, rows, each)):
        part = [asdict(told(k)) for k in range(first, min(rows, first + each))]
        for row in part:
            row["metrics"] = list(row["metrics"].items())
        table = arrow().Table.from_pylist(part, schema())
        place.put(f"{FOLDER}/shard-{number:06d}.parquet", parquet(table))
    before, start = memory(), time.perf_counter()
    found = known(place)
    assert found.done == rows
    return {"seconds": time.perf_counter() - start, "mb": memory() - before}


def told(k: int) -> Record:
    """A record as a job leaves it."""
    picture = f"pictures/{k % 256:02x}/{k:064x}.png"
    own = {"targets": ["a dog"], "mask": None, "seed": k, "method": "edit-friendly"}
    own |= {"editor": None, "guidance": 15.0, "source_guidance": 3.5, "steps": 100}
    own |= {"pictures": [picture], "image_digest": f"{k:064x}", "batch": BATCH, "seconds": 1.0}
    return Record(f"{k:09d}", k + 1, k // BATCH, 1, f"s3://shop/in/{k:09d}.png", "a cat", **own)


def memory() -> float:
    """The most that this process ever held, MB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1e6 if sys.platform == "darwin" else 1e3)


def table(one: dict[str, Any]) -> str:
    """What 16 accelerators ask of the rest, at several seconds an image."""
    cores = one["decode_png"] + one["pack_png"] + one["name"]
    lines = ["| s an image | 10^6 on 16 | images/s | MB/s in and out | cores busy |"]
    lines += ["|---|---|---|---|---|"]
    for s in RATES:
        rate, hours = 16 / s, 1e6 * s / 16 / 3600
        lines.append(
            f"| {s:g} | {hours:.1f} h | {rate:.0f} | {2 * rate * one['png_mb']:.0f} | "
            f"{rate * cores:.1f} of all nodes |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--out", type=Path, default=Path("runs/batch-costs"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"side": options.side, "image": images(options.side, options.out)}
    print(json.dumps(found, indent=2))
    found["journal"] = journal(options.rows, store(str(options.out / "journal")))
    found["manifest"] = manifest(options.rows, options.out)
    found["rows"] = options.rows
    (options.out / "costs.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))
    print(table(found["image"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
