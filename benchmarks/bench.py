"""Speed and memory against the public way of computing: ``make bench``.

    python benchmarks/bench.py [--quick] [--out benchmarks/results.json]

Every row has two sides (benchmarks/sides.py, benchmarks/pipelines.py) with the same weights,
settings and machine. Runs are interleaved: in each round every row runs once, the library and the
baseline right after each other and in alternating order; the first round warms up and is not
counted. Medians, the median of the rounds' ratios and its spread (least and largest). Peaks of
memory come from a process of its own for each side, start-up from the command line itself.

OUT: {environment, rows: [{name, ours_s, baseline_s, ratio, spread, ours_mb, baseline_mb}],
flops: {network, matmul, share}}. ``--quick`` shortens grids and stops starting rounds after
``--budget`` seconds: below 5 minutes on a free machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import machine
import pipelines
import sides
import torch

from noisespace.files import write_bytes
from noisespace.inversion.parallel import batch_rows

FULL = sides.Settings()
QUICK = sides.Settings(steps=50, skip=18, null_steps=10, iterations=10)
TINY = sides.Settings(steps=4, skip=1, null_steps=2, iterations=1)  # for tests
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Plan:
    """How long to measure: rounds a row, seconds after which no round begins, what is run."""

    settings: sides.Settings
    rounds: int
    budget: float
    models: tuple[str, ...]
    rows: tuple[str, ...]
    memory: bool = True
    diffusers: bool = True
    start: bool = True


def measured(plan: Plan) -> list[tuple[str, list[tuple[float, float]], sides.Pair]]:
    """Every row with its rounds' seconds (ours, baseline)."""
    found, until = [], time.perf_counter() + plan.budget
    todo = []
    for name in plan.models:
        model = sides.build(name)
        todo += [(f"{name}: {row}", sides.pairs(model, row, plan.settings)) for row in plan.rows]
        if plan.diffusers and name == "scenes":
            able, failed = pipelines.running(model, plan.settings.null_steps)
            todo += [(pair.name, pair) for pair in able]
            for what, why in failed.items():
                print(f"diffusers: {what} does not run here: {why}", file=sys.stderr)
    found = [(name, [], pair) for name, pair in todo]
    for round_ in range(plan.rounds + 1):  # the first warms up
        for name, times, pair in found:
            if round_ > 1 and time.perf_counter() > until:
                continue
            order = (pair.ours, pair.baseline)[:: 1 if round_ % 2 else -1]
            taken = [machine.seconds(work) for work in order][:: 1 if round_ % 2 else -1]
            if round_:
                times.append((taken[0], taken[1]))
            print(f"round {round_}, {name}: {taken[0]:.2f} s, {taken[1]:.2f} s", file=sys.stderr)
    return found


def row_of(name: str, times: list[tuple[float, float]]) -> dict[str, Any]:
    """A row of the results; its memory is filled in later."""
    ratios = [theirs / ours for ours, theirs in times]
    return {
        "name": name,
        "ours_s": round(median(a for a, _ in times), 4),
        "baseline_s": round(median(b for _, b in times), 4),
        "ratio": round(median(ratios), 3),
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
        "ours_mb": None,
        "baseline_mb": None,
    }


def one(model: str, row: str, side: str, settings: sides.Settings) -> dict[str, float]:
    """The peak of one side, measured in this process: everything it holds, and what it added."""
    loaded = sides.build(model)
    pair = sides.pairs(loaded, row, replace(settings, skip=settings.skip))
    with torch.no_grad():  # what a first call loads is not the work's
        loaded.denoise(sides.start(loaded), loaded.grid(1).level(0), loaded.embed([""]))
    machine.forget_peak()
    before = machine.held()
    (pair.ours if side == "ours" else pair.baseline)()
    return {"peak": machine.peak(), "grew": machine.peak() - before}


def apart(model: str, row: str, side: str, flags: list[str]) -> dict[str, float]:
    """``one`` in a process of its own, where large blocks go back to the system at once."""
    command = [sys.executable, __file__, "--one", model, row, side, *flags]
    own = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=own)
    return json.loads(done.stdout.splitlines()[-1])


def starts(runs: int) -> dict[str, Any]:
    """From the command line to the first step of an edit, beside diffusers' pipeline.

    Ours: ``noisespace edit`` of a saved code. The baseline: a script that loads the same folder
    as a StableDiffusionPipeline and runs one step. Each a new process.
    """
    times = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(runs):
            times.append((first_step(Path(folder)), first_step_of_diffusers()))
    return row_of("start-up to the first step", times)


def first_step(folder: Path) -> float:
    """Seconds of the command line until its first step is told."""
    picture = folder / "in.png"
    if not picture.exists():
        from PIL import Image

        from noisespace.bench.scenes import scene_edits

        Image.fromarray(scene_edits(1)[0].scene.render()).save(picture)
    edit = ["edit", str(picture), "--source", sides.SOURCE, "--target", sides.TARGET]
    files = ["--out", str(folder / "out.png"), "--force", "--steps", "4"]
    return told([sys.executable, str(HERE / "first_step.py"), "noisespace", *edit, *files])


def first_step_of_diffusers() -> float:
    """Seconds of a diffusers script until its first step is done."""
    return told([sys.executable, str(HERE / "first_step.py"), "diffusers"])


def told(command: list[str]) -> float:
    """Seconds from a process's start to its line "first step"."""
    start = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("first step"):
                taken = time.perf_counter() - start
                process.stdout.read()
                return taken
    raise RuntimeError(f"no first step: {''.join(said)[-500:]}")


def flops() -> dict[str, float]:
    """FLOP/s of a batch of the time-parallel inversion of ``scenes`` and of a matrix product."""
    model, cpu = sides.build("scenes"), torch.device("cpu")
    x0 = sides.start(model)
    rows = 2 * batch_rows(x0, 2)  # text and null text of as many states as one batch has
    x, level = x0.expand(rows, -1, -1, -1).contiguous(), model.grid(100).level(50)
    text = model.embed([sides.SOURCE]).rows([0] * rows)
    with torch.no_grad():
        network = machine.network_rate(lambda: model.denoise(x, level, text), cpu)
        matmul = machine.matmul_rate(cpu, torch.float32)
    return {"network": network, "matmul": matmul, "share": round(network / matmul, 4)}


def quality(models: tuple[str, ...], settings: sides.Settings) -> dict[str, list[float]]:
    """dB of null-text's reconstructions, ours and the notebook's: equal, or the ratio is void."""
    found = {}
    for name in models:
        model = sides.build(name)
        pair, x0 = sides.pairs(model, "null-text", settings), sides.start(model)
        found[name] = [
            round(sides.psnr_of(model, side(), x0), 2) for side in (pair.ours, pair.baseline)
        ]
    return found


def results(plan: Plan, flags: list[str]) -> dict[str, Any]:
    """The whole measurement, as it is written."""
    environment = machine.environment()
    rows, grew = [], {}
    for name, times, _ in measured(plan):
        row = row_of(name, times)
        model, _, what = name.partition(": ")
        if plan.memory and model in sides.MODELS:
            both = [apart(model, what, side, flags) for side in ("ours", "baseline")]
            row["ours_mb"], row["baseline_mb"] = (round(side["peak"], 1) for side in both)
            grew[name] = [round(side["grew"], 1) for side in both]
        rows.append(row)
    if plan.start:
        rows.append(starts(min(plan.rounds, 3)))
    environment["settings"] = vars(plan.settings)
    environment["rounds"] = plan.rounds
    environment["grew_mb"] = grew  # beyond what the process held with the model loaded
    if "null-text" in plan.rows:
        environment["null_text_db"] = quality(plan.models, plan.settings)
    return {"environment": environment, "rows": rows, "flops": flops()}


def table(found: dict[str, Any]) -> str:
    """The results as a markdown table, with the aims."""
    lines = [
        "| row | ours, s | baseline, s | ratio | spread | aim | ours, MB | baseline, MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        aim = sides.AIMS.get(row["name"].partition(": ")[2], "")
        low, high = row["spread"]
        cells = [row["name"], f"{row['ours_s']:.3f}", f"{row['baseline_s']:.3f}"]
        cells += [f"{row['ratio']:.2f}", f"{low:.2f} to {high:.2f}", str(aim)]
        cells += ["" if row[k] is None else f"{row[k]:.0f}" for k in ("ours_mb", "baseline_mb")]
        lines.append(f"| {' | '.join(cells)} |")
    rate = found["flops"]
    lines.append("")
    lines.append(
        f"network {rate['network'] / 1e9:.1f} GFLOP/s, matrix product "
        f"{rate['matmul'] / 1e9:.1f} GFLOP/s: {rate['share']:.0%} (aim 45%)"
    )
    return "\n".join(lines)


def planned(options: argparse.Namespace) -> Plan:
    """What the options ask for."""
    models, rows = tuple(options.models), tuple(options.rows)
    rest = (not options.no_memory, not options.no_diffusers, not options.no_start)
    if options.tiny:
        return Plan(TINY, 1, 60, models, rows, *rest)
    if options.quick:
        return Plan(QUICK, options.runs or 3, options.budget or 90, models, rows, *rest)
    return Plan(FULL, options.runs or 7, options.budget or 7200, models, rows, *rest)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    parser.add_argument("--quick", action="store_true", help="shorter grids, below 5 minutes")
    parser.add_argument("--tiny", action="store_true", help="a few steps: tests the script alone")
    parser.add_argument("--runs", type=int, help="rounds (7; quick: 3)")
    parser.add_argument("--budget", type=float, help="seconds after which no round begins")
    parser.add_argument("--models", nargs="+", choices=sides.MODELS, default=sides.MODELS)
    parser.add_argument("--rows", nargs="+", choices=sides.ROWS, default=sides.ROWS)
    for what in ("memory", "diffusers", "start"):
        parser.add_argument(f"--no-{what}", action="store_true", help=f"leave {what} out")
    parser.add_argument("--one", nargs=3, metavar=("MODEL", "ROW", "SIDE"), help="peak, as JSON")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning)  # of the pipelines measured
    plan = planned(options)
    if options.one:
        print(json.dumps(one(*options.one, plan.settings)))
        return
    flags = ["--tiny"] * options.tiny + ["--quick"] * options.quick
    found = results(plan, flags)
    write_bytes(options.out, (json.dumps(found, indent=2) + "\n").encode(), force=True)
    print(table(found))


if __name__ == "__main__":
    main()
