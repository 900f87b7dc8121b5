"""One table of a GPU: random Stable Diffusion 1.5 and XL sizes, bfloat16, 512 and 1024 pixels.

    python benchmarks/gpu.py [--sizes sd-1.5 sdxl] [--sides 512 1024] [--out gpu.json] [--resume]
    python benchmarks/gpu.py --sizes tiny --sides 64 --steps 4 --device cpu   # a trial without one

Builds all it needs; nothing is downloaded. Every size and side runs in a process of its own, so
that what runs out of memory in one row does not take the others with it; ``--out`` is written after
every figure, and ``--resume`` keeps its whole rows. Expect 5 to 15 minutes a row, by its FLOPs
(compiling most of all, which ``--quick`` leaves out): not measured. Ours and the textbook run in
turn (attention is not kept there), ``ratio`` is the median of the pairs; ``network_tflops`` is the
rate of million.py's ``--rate``; peaks count the weights; compiling has paid for itself after
``pays_after`` edits of one size. `sdxl` is that U-Net without its pooled embedding (1 % of its
work), with a small text encoder: noisespace does not load the model itself yet.
Above 200 lines: one command, read from the figures to the table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import textbook
import torch
from machine import check_same, clock, environment, flops_of, matmul_rate, stoppable, wait, written
from networks import SIZES, random_model
from races import SOURCE, TARGETS

import noisespace as ns
from noisespace.core.batching import is_out_of_memory
from noisespace.models.loading import where
from noisespace.models.speed import compile_network
from noisespace.system.files import write_json

COLUMNS = (
    "invert_s",
    "edit_s",
    "both_s",
    "textbook_s",
    "ratio",
    "spread",
    "network_tflops",
    "matmul_tflops",
    "share",
    "best_batch",
    "pictures_s",
    "peak_gb",
    "null_text_s",
    "null_text_gb",
    "compile_s",
    "compiled_edit_s",
    "pays_after",
)
PAIRS = 3
LONG = 60.0  # seconds: no batch of the throughput that would take longer
ENDED = "the process ended with"
SHORT = 5.0  # seconds: what takes longer is not run again to warm up


@dataclass(frozen=True)
class Bench:
    """One network at one side, on one device."""

    model: Any
    side: int
    steps: int
    device: torch.device
    quick: bool

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    def latents(self, images: int = 1) -> torch.Tensor:
        drawn = torch.Generator().manual_seed(0)
        at = self.side // self.model.factor
        x = torch.randn(images, self.model.channels, at, at, generator=drawn)
        return x.to(self.device, self.model.state_dtype)

    def invert(self, images: int = 1) -> ns.Code:
        x0, prompts = self.latents(images), [SOURCE] * images
        options = {"steps": self.steps, "guidance": 3.5, "seed": list(range(images))}
        return ns.invert(self.model, x0, prompts, ns.EditFriendly(skip=0.36), **options)

    def edit(self, code: ns.Code) -> Any:
        """One target a picture; a ns.Result."""
        targets = [[TARGETS[0]]] * code.path.shape[1]
        return ns.edit(self.model, code, targets, guidance=15.0)

    def timed(self, work: Callable[[], Any], runs: int = 3) -> float:
        work()
        return median(clock(work, self.device)[0] for _ in range(runs))

    def peak(self, work: Callable[[], Any]) -> tuple[float, float | None]:
        """Seconds of one run, and the device's peak, GB; None without CUDA."""
        if self.device.type != "cuda":
            return clock(work)[0], None
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        seconds, _ = clock(work, self.device)
        return seconds, torch.cuda.max_memory_allocated(self.device) / 1e9


def race(b: Bench) -> tuple[float, float, float, str]:
    """Ours and the public order in turn: medians, the median ratio and its extremes.

    The network in its dtype, states in float32 on either side; a race of edits that are not finite
    would be none.
    """
    x0, pairs = b.latents(), []

    def theirs() -> torch.Tensor:
        maps = textbook.invert(b.model, x0, SOURCE, b.steps)
        x = textbook.edit(b.model, maps, TARGETS[0], round(0.36 * b.steps))
        with torch.no_grad():
            b.model.decode(x)
        return x

    def ours() -> torch.Tensor:
        return b.edit(b.invert()).latents

    for name, latents in (("ours", ours()), ("the textbook's", theirs())):
        if not latents.isfinite().all():
            raise ArithmeticError(f"{name} edit is not finite")
    for _ in range(1 if b.quick else PAIRS):
        pairs.append((clock(ours, b.device)[0], clock(theirs, b.device)[0]))
    mine, old = (median(pair[i] for pair in pairs) for i in (0, 1))
    ratios = sorted(c / a for a, c in pairs)
    return mine, old, median(ratios), f"{ratios[0]:.1f} to {ratios[-1]:.1f}"


def rates(b: Bench, seconds: float) -> tuple[float, float, float]:
    """TFLOP/s of the whole inversion (Python and launches too), of a product, and their share."""
    network = flops_of(b.invert) / seconds
    product = matmul_rate(b.device, b.dtype, 8192 if b.device.type == "cuda" else 512)
    return network / 1e12, product / 1e12, network / product


def throughput(b: Bench, most: int) -> tuple[int, float]:
    """The images at once that give most pictures a second, and how many; doubled until it falls.

    Ends before a batch that would take longer than ``LONG``, by the one before it.
    """
    best, images, seconds = (0, 0.0), 1, 0.0
    while images <= most and 2 * seconds < LONG:
        try:
            work = partial(lambda n: b.edit(b.invert(n)), images)
            seconds = clock(work, b.device)[0]
            if seconds < SHORT:  # the first was to warm up
                seconds = clock(work, b.device)[0]
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            break
        if images / seconds > best[1]:
            best = (images, images / seconds)
        elif images / seconds < 0.95 * best[1]:
            break
        images *= 2
    return best


def tuned(b: Bench) -> tuple[float, float | None]:
    """Null-text with Adam's 500 iterations' worth of work: 50 steps of at most 10."""
    method = ns.NullText(guidance=7.5, solver="adam", iterations=10, tolerance=0.0)

    def work(steps: int = min(50, b.steps)) -> ns.Code:
        return ns.invert(b.model, b.latents(), SOURCE, method, steps=steps)

    work(2)  # loads the kernels
    return b.peak(work)


def compiling(b: Bench, before: float) -> tuple[float, float, float | None]:
    """Seconds that compiling took, those of an edit afterwards, and after how many it has paid.

    ``before``: of an edit without; None where it never pays.
    """
    code = b.invert()
    fast = replace(b, model=replace(b.model, call=compile_network(b.model.network, b.device)))
    first, _ = clock(lambda: fast.edit(code), b.device)
    after = b.timed(lambda: fast.edit(code))
    gain = before - after
    return first - after, after, (first - after) / gain if gain > 0 else None


def row(b: Bench) -> Iterator[dict[str, Any]]:
    """The figures of one network at one side so far, after each; a failure stands in its place."""
    out: dict[str, Any] = {}
    parts: dict[tuple[str, ...], Callable[[], tuple[Any, ...]]] = {
        ("invert_s",): lambda: (b.timed(b.invert),),
        ("edit_s",): lambda: (b.timed(partial(b.edit, b.invert())),),
        ("both_s", "textbook_s", "ratio", "spread"): partial(race, b),
        ("peak_gb",): lambda: (b.peak(lambda: b.edit(b.invert()))[1],),
        ("network_tflops", "matmul_tflops", "share"): lambda: rates(b, out["invert_s"]),
        ("best_batch", "pictures_s"): partial(throughput, b, 2 if b.quick else 64),
        ("null_text_s", "null_text_gb"): partial(tuned, b),
    }
    if not b.quick:
        parts["compile_s", "compiled_edit_s", "pays_after"] = lambda: compiling(b, out["edit_s"])
    for names, work in parts.items():
        try:
            out |= dict(zip(names, work(), strict=True))
        except Exception as error:  # a row shall not lose its other figures
            out[names[0]] = failed(error)
        wait(b.device)
        yield out


def row_apart(*words: str) -> Iterator[dict[str, Any]]:
    """A row's figures so far from a process of its own; what ended it is said in a place free."""
    command, found = [sys.executable, "-W", "ignore", __file__, *words], {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            if line.startswith("{"):
                found = json.loads(line)
                yield found
    if process.returncode:
        free = next((c for c in COLUMNS if c not in found), COLUMNS[-1])
        yield {**found, free: f"failed: {ENDED} {process.returncode}"}


def failed(error: Exception) -> str:
    """What stands in a figure's place, on one line."""
    return " ".join(f"failed: {type(error).__name__}: {str(error)[-80:]}".split())


def shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)


def parsed() -> argparse.Namespace:
    """The options; a device that is not there is said before anything is built."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=["sd-1.5", "sdxl"])
    parser.add_argument("--sides", nargs="+", type=int, default=[512, 1024])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="no compiling, batches of two at most")
    parser.add_argument("--out", type=Path, help="also write JSON")
    parser.add_argument("--resume", action="store_true", help="keep the whole rows that OUT has")
    parser.add_argument("--one", nargs=2, metavar=("SIZE", "SIDE"), help="one row, as JSON")
    options = parser.parse_args()
    try:
        where(options.device)
    except ns.InputError as error:
        parser.error(str(error))
    if options.out and not options.out.absolute().parent.is_dir():
        parser.error(f"--out {options.out}: its folder does not exist")
    if options.resume and not options.out:
        parser.error("--resume needs --out, the file to go on with")
    return options


def main() -> None:
    options = parsed()
    device = where(options.device)
    if options.one:
        name, side = options.one
        model = random_model(name, torch.bfloat16, device)
        for found in row(Bench(model, int(side), options.steps, device, options.quick)):
            print(json.dumps(found), flush=True)
        return
    about = environment(device) | {"steps": options.steps, "quick": options.quick}
    rows = kept_rows(options, about) if options.resume and options.out.exists() else []
    print(f"{about['device']}, torch {about['torch']}, bfloat16, {options.steps} steps, skip 36 %")
    print("| network | side | " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * (len(COLUMNS) + 2))
    words = ["--device", options.device, "--steps", str(options.steps)]
    words += ["--quick"] if options.quick else []
    for key in ((name, side) for name in options.sizes for side in options.sides):
        one = next((r for r in rows if (r["network"], r["side"]) == key), None)
        if one is None:
            one = {"network": key[0], "side": key[1], "whole": False}
            rows.append(one)
            for found in row_apart("--one", key[0], str(key[1]), *words):
                one |= found
                if options.out:
                    write_json(options.out, {"environment": about, "rows": rows}, force=True)
            one["whole"] = ENDED not in str(one)
            if options.out:
                write_json(options.out, {"environment": about, "rows": rows}, force=True)
        cells = " | ".join(shown(one.get(c)) for c in COLUMNS)
        print(f"| {key[0]} | {key[1]} | {cells} |", flush=True)


def kept_rows(options: argparse.Namespace, about: dict[str, Any]) -> list[dict[str, Any]]:
    """The whole rows of OUT, measured on this device with these options."""
    done = written(options.out)
    check_same(done["environment"], about, options.out)
    return [row for row in done["rows"] if row["whole"]]


if __name__ == "__main__":
    stoppable(main)
