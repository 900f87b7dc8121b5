"""noisespace against the public way of computing, in one command: benchmarks/results.json.

    python benchmarks/bench.py [--quick] [--resume] [--large] [--page docs/performance.md]

Same weights, settings and machine; ours and the baseline in turn, in one process; medians with the
spread of the pairs' ratios. Memory: by how much the peak of a process of its own rises.
``--quick``: fewer pairs, the slow ones for `scenes` alone; 5 minutes on two free cores, where the
whole takes 20 to 35. ``--large``: also a network of Stable Diffusion's size (6 GB, 8 minutes more).

Every row is written as soon as it is measured; ``--resume`` keeps the rows that the file has.
Above 200 lines: one command, read from the pairs to the file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from machine import (
    apart,
    check_same,
    clock,
    environment,
    flops_of,
    grown,
    matmul_rate,
    stoppable,
    written,
)
from page import bench_table, check_place, put
from races import Extent, Race, race, races, setting

from noisespace.core.batching import batch_rows
from noisespace.system.files import write_json

CPU = torch.device("cpu")
RESULTS = Path(__file__).with_name("results.json")
STARTUP = "command line: start-up to the end of the first step"


@dataclass(frozen=True)
class Plan:
    """How much is measured: ``least`` to ``most`` pairs a row, as ``seconds`` allow."""

    least: int = 3
    most: int = 7
    seconds: float = 25.0
    quick: bool = False
    extent: Extent = "full"

    @classmethod
    def of(cls, quick: bool, trial: bool) -> Plan:
        if trial:
            return cls(1, 1, 0.0, quick, "warm")
        return cls(1, 3, 8.0, True) if quick else cls()

    def fewest(self, cheap: bool) -> int:
        return self.least if cheap else min(self.least, 2)


def measured(one: Race, plan: Plan) -> dict[str, Any]:
    """Ours and the baseline in turn; a first pair warms up where there is time for it."""
    ours, theirs = one.sides()
    if one.cheap and not plan.quick:
        ours(), theirs()
    start, times, given = time.perf_counter(), [], ()
    while len(times) < plan.fewest(one.cheap) or (
        len(times) < plan.most and time.perf_counter() - start < plan.seconds
    ):
        (a, got), (b, old) = clock(ours), clock(theirs)
        times.append((a, b))
        given = got, old
    row = compared(one.name, times)
    if one.judge is not None:  # ours, the baseline's
        row["psnr_db"] = [one.judge(latents) for latents in given]
    return row


def compared(name: str, times: list[tuple[float, float]]) -> dict[str, Any]:
    """A row of pairs of seconds: medians, and the median and extremes of the pairs' ratios."""
    ratios = [b / a for a, b in times]
    return {
        "name": name,
        "ours_s": round(median(a for a, _ in times), 4),
        "baseline_s": round(median(b for _, b in times), 4),
        "ratio": round(median(ratios), 3),
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
        "pairs": len(times),
        "ours_mb": None,
        "baseline_mb": None,
    }


def weighed(one: Race, plan: Plan) -> list[dict[str, float | None] | None]:
    """Each side in a process of its own: seconds, MB (None but on Linux); None where it failed."""
    out: list[dict[str, float | None] | None] = []
    for side in ("0", "1"):
        extent: Extent = "light" if plan.extent == "full" else plan.extent
        try:
            out.append(apart(__file__, "--one", one.name, side, extent))
        except (subprocess.CalledProcessError, OSError):
            out.append(None)
    return out


def alone(name: str, side: int, extent: Extent) -> dict[str, float | None]:
    """One side in this process, with the kernels already loaded by a small run of it."""
    one = race(name, extent)
    if not one.apart:
        race(name, "warm").sides()[side]()
    work, seconds = one.sides()[side], [0.0]
    mb = grown(lambda: seconds.append(clock(work)[0]))
    return {"s": seconds[-1], "mb": mb and round(mb, 1)}


def row_of(one: Race, plan: Plan) -> dict[str, Any]:
    """All figures of a race; quick runs and trials weigh few."""
    few = plan.quick or plan.extent == "warm"
    sides = weighed(one, plan) if one.weighed or one.apart or not few else [None, None]
    if one.apart:
        if None in sides:
            raise SystemExit(f"{one.name}: a process of its own failed, see above")
        row = compared(one.name, [(sides[0]["s"], sides[1]["s"])])
    else:
        row = measured(one, plan)
    for key, side in zip(("ours_mb", "baseline_mb"), sides, strict=True):
        row[key] = None if side is None else side["mb"]
    return row


def network_flops(runs: int = 7) -> dict[str, float]:
    """FLOP/s of the network in a time-parallel inversion's batches, against a matrix product's.

    Measured in turn; also of the whole inversion and of an edit of one picture (two rows a step),
    with all that is not the network.
    """
    s = setting("scenes", "full")
    like = torch.empty(1, s.model.channels, *s.x0.shape[-2:])
    x = torch.randn(batch_rows(like, 1), *like.shape[1:])
    text, level = s.model.embed([""]).rows([0] * len(x)), s.model.grid(100).level(50)
    code = s.invert()

    def evaluate() -> None:
        with torch.no_grad():
            s.model.denoise(x, level, text)

    works = {"network": evaluate, "inversion": s.invert, "edit": lambda: s.edit(code, s.source)}
    flops = {name: flops_of(work) for name, work in works.items()}
    turns: list[dict[str, float]] = []
    for _ in range(runs):
        rates = {name: flops[name] / clock(work)[0] for name, work in works.items()}
        turns.append({**rates, "matmul": matmul_rate(CPU, torch.float32, runs=3)})
    out: dict[str, float] = {k: round(median(turn[k] for turn in turns)) for k in turns[0]}
    shares = {"share": "network", "inversion_share": "inversion", "edit_share": "edit"}
    for key, name in shares.items():
        out[key] = round(median(turn[name] / turn["matmul"] for turn in turns), 3)
    return out


def startup(pairs: int) -> dict[str, Any]:
    """A command from its start to the end of one step, against diffusers' pipeline doing so.

    An upper bound of the time to the first step: both decode and write the picture too.
    """
    prompt, times = "a plain red circle on a blue background", []
    with tempfile.TemporaryDirectory() as folder:
        ours = [sys.executable, "-m", "noisespace", "sample", prompt, "--steps", "1", "--force"]
        ours += ["-o", str(Path(folder) / "a.png"), "--device", "cpu"]
        theirs = [sys.executable, str(Path(__file__).with_name("startup.py")), folder]
        for _ in range(pairs):
            pair = []
            for command in (ours, theirs):
                start = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True)
                pair.append(time.perf_counter() - start)
            times.append(tuple(pair))
    return compared(STARTUP, times)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--resume", action="store_true", help="keep the rows that the file has")
    parser.add_argument("--large", action="store_true", help="also Stable Diffusion's size")
    parser.add_argument("--trial", action="store_true", help="four steps: does everything run")
    parser.add_argument("--only", help="the rows whose name has this")
    parser.add_argument("--out", type=Path, help="instead of benchmarks/results.json")
    parser.add_argument("--page", type=Path, help="also the table of docs/performance.md")
    parser.add_argument(
        "--one", nargs=3, metavar=("NAME", "SIDE", "EXTENT"), help="a side's memory"
    )
    options = parser.parse_args()
    if options.one:
        return options
    if options.only and not (options.resume or options.out):
        parser.error("--only would leave results.json with these rows alone: add --resume or --out")
    if options.trial and not options.out:
        parser.error("--trial would leave results.json with rows of four steps: add --out")
    options.out = options.out or RESULTS
    if not options.out.absolute().parent.is_dir():
        parser.error(f"--out {options.out}: its folder does not exist")
    options.names = [STARTUP, *(one.name for one in chosen(options))]
    if options.only is not None and not any(options.only in name for name in options.names):
        parser.error(f"--only {options.only!r} is in no row's name: {'; '.join(options.names)}")
    check_place(options.page, "bench")
    return options


def chosen(options: argparse.Namespace) -> list[Race]:
    """The races that these options run, ``--only`` apart."""
    extent = Plan.of(options.quick, options.trial).extent
    return [one for one in races(extent, options.large) if one.quick or not options.quick]


def main() -> None:
    options = parsed()
    if options.one:
        name, side, extent = options.one
        print(json.dumps(alone(name, int(side), extent)))
        return
    plan = Plan.of(options.quick, options.trial)
    about = environment(CPU) | {"quick": plan.quick, "trial": options.trial}
    results = {"environment": about, "rows": [], "flops": {}}
    if options.resume and options.out.exists():
        before = written(options.out)
        check_same({"trial": False, **before["environment"]}, about, options.out)
        results |= before
    try:
        run(results, plan, options)
    except KeyboardInterrupt:
        kept = f"what was measured is in {options.out} (--resume)"
        raise SystemExit(f"stopped: {kept if results['flops'] else 'nothing measured'}") from None
    if options.page:
        put(options.page, "bench", bench_table(results))


def run(results: dict[str, Any], plan: Plan, options: argparse.Namespace) -> None:
    """Measures what the results lack, and writes them after every row."""
    if not results["flops"]:
        say(f"FLOP/s against a matrix product's {'' if plan.seconds else '(trial)'}")
        results["flops"] = network_flops(7 if plan.seconds else 1)
        print(f"flops: {results['flops']}", flush=True)
        write_json(options.out, results, force=True)
    known, some = {row["name"] for row in results["rows"]}, chosen(options)
    left = [n for n in options.names if n not in known and (options.only or "") in n]
    start = time.perf_counter()
    for index, name in enumerate(left):
        say(f"[{index + 1} of {len(left)}, {time.perf_counter() - start:.0f} s] {name}")
        if name == STARTUP:
            row = startup(plan.fewest(cheap=True))
        else:
            row = row_of(next(one for one in some if one.name == name), plan)
        results["rows"].append(row)
        print(line(row), flush=True)
        write_json(options.out, results, force=True)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def line(row: dict[str, Any]) -> str:
    low, high = row["spread"]
    told = (
        f"{row['name']}: ours {row['ours_s']:.3f} s, baseline {row['baseline_s']:.3f} s, "
        f"{row['ratio']:.2f}x ({low:.2f} to {high:.2f}, {row['pairs']} pairs), "
        f"memory {row['ours_mb']} against {row['baseline_mb']} MB"
    )
    return told + (f", PSNR {row['psnr_db']} dB" if "psnr_db" in row else "")


if __name__ == "__main__":
    stoppable(main)
