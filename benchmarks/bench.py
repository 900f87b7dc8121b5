"""noisespace against the public way of computing, in one command: benchmarks/results.json.

    python benchmarks/bench.py [--quick] [--out benchmarks/results.json]

Same weights, settings and machine; ours and the baseline in turn, in one process; medians with the
spread of the pairs' ratios. Memory: by how much the peak of a process of its own rises.
``--quick``: fewer pairs and fewer steps where a baseline takes long; 5 minutes on two free cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from machine import apart, clock, environment, flops_of, grown, matmul_rate
from networks import model_of
from page import bench_table, put
from races import Race, race, races, setting

from noisespace.files import write_json

CPU = torch.device("cpu")
STARTUP = ("a plain red circle on a blue background", "1")


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    runs: int
    quick: bool
    trial: bool = False

    @property
    def words(self) -> list[str]:
        """For a process of its own."""
        return ["--quick"] * self.quick + ["--trial"] * self.trial

    def pairs(self, cheap: bool) -> int:
        return self.runs if cheap else max(1, self.runs // 2)


def measured(one: Race, pairs: int) -> dict[str, Any]:
    """Ours and the baseline in turn; the first pair warms up where there is time for it."""
    ours, theirs = one.sides()
    if one.cheap:
        ours(), theirs()
    times = [(clock(ours)[0], clock(theirs)[0]) for _ in range(pairs)]
    ratios = [b / a for a, b in times]
    return {
        "name": one.name,
        "ours_s": round(median(a for a, _ in times), 4),
        "baseline_s": round(median(b for _, b in times), 4),
        "ratio": round(median(ratios), 3),
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
    }


def memory(one: Race, plan: Plan) -> dict[str, float | None]:
    """The growth of each side's peak in a process of its own, MB; None where Linux's is missing."""
    out = {}
    for key, side in (("ours_mb", 0), ("baseline_mb", 1)):
        try:
            out[key] = round(apart(__file__, "--one", one.name, str(side), *plan.words), 1)
        except (subprocess.CalledProcessError, OSError):
            out[key] = None
    return out


def alone(name: str, side: int, plan: Plan) -> float:
    """One side's growth in this process, with the kernels already loaded by a small run of it."""
    race(name, plan.quick, warm=True).sides()[side]()
    return grown(race(name, plan.quick, plan.trial).sides()[side])


def network_flops() -> dict[str, float]:
    """FLOP/s in the time-parallel inversion's evaluations against a matrix product's, in turn."""
    model = model_of("scenes")
    side, rows = model.resolution // model.factor, 32
    x = torch.randn(rows, model.channels, side, side, generator=torch.Generator().manual_seed(0))
    text, level = model.embed([""]).rows([0] * rows), model.grid(100).level(50)

    def evaluate() -> None:
        with torch.no_grad():
            model.denoise(x, level, text)

    work = flops_of(evaluate)
    evaluate()
    turns = []
    for _ in range(7):
        seconds = min(clock(evaluate)[0] for _ in range(3))
        turns.append((work / seconds, matmul_rate(CPU, torch.float32, runs=3)))
    network, matmul = (median(turn[i] for turn in turns) for i in (0, 1))
    share = median(a / b for a, b in turns)
    return {"network": round(network), "matmul": round(matmul), "share": round(share, 3)}


def quality(one: Race, quick: bool) -> list[float]:
    """PSNR in dB of what both sides of a null-text race reconstruct, to the decoded input."""
    at = setting(one.name.split(":")[0], quick, warm=False)
    with torch.no_grad():
        expected = pixels(at.model, at.x0)
    found = []
    for side in one.sides():
        latents = side()
        with torch.no_grad():
            error = (pixels(at.model, latents) - expected).pow(2).mean().clamp(min=1e-12)
        found.append(round(float(-10 * error.log10()), 2))
    return found


def pixels(model: Any, x: torch.Tensor) -> torch.Tensor:
    return (model.decode(x) / 2 + 0.5).clamp(0, 1)


def startup(pairs: int) -> dict[str, Any]:
    """A command from its start to the end of one step, against diffusers' pipeline doing so.

    An upper bound of the time to the first step: both decode and write the picture too.
    """
    import tempfile

    times = []
    with tempfile.TemporaryDirectory() as folder:
        ours = [sys.executable, "-m", "noisespace.cli", "sample", STARTUP[0], "--steps", STARTUP[1]]
        ours += ["-o", str(Path(folder) / "a.png"), "--force", "--device", "cpu"]
        theirs = [sys.executable, str(Path(__file__).with_name("startup.py")), folder]
        for _ in range(pairs):
            pair = []
            for command in (ours, theirs):
                start = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True)
                pair.append(time.perf_counter() - start)
            times.append(pair)
    ratios = [b / a for a, b in times]
    return {
        "name": "command line: start-up to the end of the first step",
        "ours_s": round(median(a for a, _ in times), 3),
        "baseline_s": round(median(b for _, b in times), 3),
        "ratio": round(median(ratios), 3),
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
        "ours_mb": None,
        "baseline_mb": None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--runs", type=int, help="pairs a row (default 7; 3 with --quick)")
    parser.add_argument("--trial", action="store_true", help="four steps: does everything run")
    parser.add_argument("--only", help="the rows whose name has this")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results.json"))
    parser.add_argument("--page", type=Path, help="also the table of docs/performance.md")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "SIDE"), help="memory of a side")
    options = parser.parse_args()
    if options.one:
        plan = Plan(1, options.quick, options.trial)
        print(json.dumps(alone(options.one[0], int(options.one[1]), plan)))
        return
    plan = Plan(options.runs or (3 if options.quick else 7), options.quick, options.trial)
    about = environment(CPU)
    rows = []
    for one in races(plan.quick, plan.trial):
        if options.only is None or options.only in one.name:
            row = {**measured(one, plan.pairs(one.cheap)), **memory(one, plan)}
            rows.append(row)
            print(line(row), flush=True)
            if one.name.endswith("null-text"):
                dbs = quality(one, plan.quick)
                about[f"{one.name}: PSNR of ours and of the baseline, dB"] = dbs
                print(f"{one.name}: {dbs[0]} and {dbs[1]} dB", flush=True)
    if options.only is None:
        rows.append(startup(plan.pairs(False)))
        print(line(rows[-1]), flush=True)
    results = {"environment": about, "rows": rows, "flops": network_flops()}
    print(f"flops: {results['flops']}")
    write_json(options.out, results, force=True)
    if options.page:
        put(options.page, "bench", bench_table(results))


def line(row: dict[str, Any]) -> str:
    low, high = row["spread"]
    return (
        f"{row['name']}: ours {row['ours_s']:.3f} s, baseline {row['baseline_s']:.3f} s, "
        f"{row['ratio']:.2f}x ({low:.2f} to {high:.2f}), "
        f"memory {row['ours_mb']} against {row['baseline_mb']} MB"
    )


if __name__ == "__main__":
    main()
