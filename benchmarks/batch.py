"""Batch jobs: overhead over a plain loop, kills that cost nothing, memory that stays flat.

    python benchmarks/batch.py [--rows 500] [--kills 20] [--steps 12] [--out runs/bench-batch]
        [--parts overhead memory kills]

Scenes in few steps. Writes OUT/batch.json and OUT/memory.png; the exit code is 1 where a killed run
lost a row, has one twice, or other pictures than an undisturbed one, and where it ended before it
was killed so often (more steps make it longer). The memory is followed over --memory-rows in one
step each: enough that records are put into a shard more than once.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch
from PIL import Image

import noisespace as ns
from noisespace.batch.job import planned, run_job
from noisespace.batch.local import Order
from noisespace.batch.plan import Choice, Settings
from noisespace.batch.records import SPAN, files, read_file, read_records
from noisespace.batch.stores import store
from noisespace.batch.work import ready
from noisespace.bench.scenes import scene_cases
from noisespace.pictures.metadata import png_bytes

PARTS = ("overhead", "memory", "kills")


def manifest(folder: Path, rows: int) -> str:
    """Scenes as files, and their manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for case in scene_cases(rows, 0):
        Image.fromarray(case.pixels()).save(folder / f"{case.id}.png")
        row = {"id": case.id, "image": f"{case.id}.png"}
        lines.append(json.dumps({**row, "source": case.source, "target": case.target}))
    (folder / "jobs.jsonl").write_text("\n".join(lines))
    return str(folder / "jobs.jsonl")


def loop(plan: Any, steps: int, out: Path) -> float:
    """Seconds of the same batches by hand: read, invert, edit, write."""
    model = ns.load("scenes", device="cpu")
    out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    for group in plan.groups:
        batch = [ready(item, group.choice) for item in group.items]
        seeds = [item.seed for item in group.items]
        sources = [item.source for item in group.items]
        code = ns.invert(model, [b.pixels for b in batch], sources, steps=steps, seed=seeds)
        result = ns.edit(model, code, [list(item.targets) for item in group.items], seed=seeds)
        for item, picture in zip(group.items, result.images, strict=True):
            (out / f"{item.id}.png").write_bytes(png_bytes(picture))
    return time.perf_counter() - start


def content(out: Path) -> list[tuple[str, str, tuple[str, ...]]]:
    """Rows with the names of their pictures, which are hashes of their bytes."""
    rows = read_records(store(str(out)))
    return sorted((row["id"], row["status"], tuple(row["pictures"])) for row in rows)


def killed(path: str, out: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Kills drivers and workers in turn at random moments, until as many died; then it ends.

    A moment is counted from when a start has made its first rows, so that no kill hits a start-up.
    """
    words = [sys.executable, "-m", "noisespace", "batch", path, "--out", str(out), "--device"]
    words += ["cpu", "--steps", str(options.steps), "--workers", "2"]
    rng, kills, starts = random.Random(0), {"driver": 0, "worker": 0}, 0
    while True:
        starts += 1
        anew = ["--force"] if starts == 1 else []
        process = subprocess.Popen(
            [*words, *anew], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        have = len(list(out.glob("records/*")))
        while process.poll() is None and len(list(out.glob("records/*"))) <= have:
            time.sleep(0.05)
        while process.poll() is None:
            if sum(kills.values()) >= options.kills:
                process.wait()
                break
            time.sleep(rng.uniform(*options.between))
            if process.poll() is not None:
                break
            children = psutil.Process(process.pid).children()
            workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
            victim = "driver" if kills["driver"] <= kills["worker"] or not workers else "worker"
            (process if victim == "driver" else rng.choice(workers)).kill()
            kills[victim] += 1
        if process.returncode is not None and process.returncode >= 0:
            return {"kills": kills, "starts": starts, "exit_code": process.returncode}


def drawn(memory: list[tuple[int, float]], path: Path) -> None:
    """The process's memory over the rows of a run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*memory, strict=True), color="#0072b2")
    most = max(mb for _, mb in memory)
    axes.grid(color="#dddddd", linewidth=0.5)
    axes.set_xlim(0, memory[-1][0])
    for rows in range(SPAN * Settings().batch, memory[-1][0], SPAN * Settings().batch):
        axes.axvline(rows, color="#d55e00", linestyle="--", linewidth=1)
        axes.annotate("a shard", (rows, 0.05 * most), xytext=(3, 0), textcoords="offset points")
    axes.set(xlabel="rows done", ylabel="resident memory, MB", ylim=(0, 1.2 * most))
    figure.savefig(path, dpi=150)


def overhead(plan: Any, settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of the job and of a plain loop, in turns; of both without the model's loading.

    The job's are of all that it does: folder, journal, shards and summary, too.
    """
    seconds: dict[str, list[float]] = {"loop": [], "batch": []}
    for turn in range(options.turns):
        seconds["loop"].append(loop(plan, options.steps, options.out / f"plain-{turn}"))
        out = str(options.out / f"whole-{turn}")
        start = time.perf_counter()
        ns.load("scenes", device="cpu")
        loading = time.perf_counter() - start
        run_job(plan, Order(out, settings, "cpu"), force=True)
        seconds["batch"].append(time.perf_counter() - start - 2 * loading)
    pairs = zip(seconds["batch"], seconds["loop"], strict=True)
    ratios = sorted(batch / plain - 1 for batch, plain in pairs)
    return {
        "seconds": {name: [round(s, 2) for s in some] for name, some in seconds.items()},
        "overhead": round(median(ratios), 4),
        "overhead_range": [round(ratios[0], 4), round(ratios[-1], 4)],
    }


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """The memory of a job over its rows."""
    followed: list[tuple[int, float]] = []

    def tell(now: Any) -> None:
        followed.append((now.done, psutil.Process().memory_info().rss / 1e6))

    path = manifest(options.out / "many", options.memory_rows)
    settings = Settings(choice=Choice(steps=1))
    out = str(options.out / "memory")
    run_job(planned(path, settings), Order(out, settings, "cpu"), tell=tell, force=True)
    drawn(followed, options.out / "memory.png")
    half = [mb for _, mb in followed[len(followed) // 2 :]]
    return {
        "memory_rows": followed[-1][0],
        "memory_mb_second_half": [round(min(half)), round(max(half))],
    }


def kills(path: str, plan: Any, settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    """What a job that was killed over and over has, beside an undisturbed one."""
    whole = options.out / "whole-0"
    run_job(plan, Order(str(whole), settings, "cpu"))  # unless it is there
    found = killed(path, options.out / "killed", options)
    rows, place = content(options.out / "killed"), store(str(options.out / "killed"))
    # of the files themselves: a reader of records takes each row once
    written = [name for file in files(place) for name in read_file(place, file)["id"].to_pylist()]
    return found | {
        "lost": options.rows - len(set(written)),
        "twice": len(written) - len(set(written)),
        "same_pictures": rows == content(whole),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--turns", type=int, default=2, help="of loop and job")
    parser.add_argument("--memory-rows", type=int, default=4800)
    parser.add_argument("--between", type=float, nargs=2, default=(1.0, 4.0), help="seconds")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path, default=Path("runs/bench-batch"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = manifest(options.out / "in", options.rows)
    settings = Settings(choice=Choice(steps=options.steps))
    plan = planned(path, settings)
    told = options.out / "batch.json"
    found = json.loads(told.read_text()) if told.exists() else {}
    if found.get("rows") != options.rows or found.get("steps") != options.steps:
        found = {"rows": options.rows, "steps": options.steps}
    if "overhead" in options.parts:
        found |= overhead(plan, settings, options)
    if "memory" in options.parts:
        found |= memory(options)
    if "kills" in options.parts:
        found |= kills(path, plan, settings, options)
    told.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))
    if "kills" not in options.parts:
        return 0
    whole = found["same_pictures"] and not found["lost"] and not found["twice"]
    if short := options.kills - sum(found["kills"].values()):
        print(f"the job ended {short} kills too early: give more --rows or --steps")
    return 0 if whole and not short else 1


if __name__ == "__main__":
    sys.exit(main())
