"""The rate and the memory of the network by the rows of a batch: what CPU_POSITIONS is chosen by.

    python benchmarks/rows.py [--page docs/performance.md]

FLOP/s of one evaluation against a float32 matrix product's, in turn, and by how much the peak of
memory rises, for `scenes` and the random network of 10 M parameters, at latents of 16 x 16. One
minute on two free cores.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median

import torch
from machine import apart, clock, environment, flops_of, grown, matmul_rate, stoppable
from networks import model_of
from page import check_place, put, table
from races import MODELS

from noisespace.core.batching import CPU_POSITIONS

ROWS, SIDE = (1, 2, 8, 16, 32, 64, 128, 256), 16
CPU = torch.device("cpu")


def measured(network: str, runs: int) -> list[dict[str, float | None]]:
    """A figure a number of rows: rows, share of a matrix product's rate, MB (None but on Linux)."""
    model, out = model_of(network), []
    level = model.grid(100).level(50)
    for rows in ROWS:
        drawn = torch.Generator().manual_seed(0)
        x, text = torch.randn(rows, 4, SIDE, SIDE, generator=drawn), model.embed([""])

        def evaluate(x=x, text=text.rows([0] * rows)) -> None:
            with torch.no_grad():
                model.denoise(x, level, text)

        flops = flops_of(evaluate)
        evaluate()
        mb, turns = grown(evaluate), []
        for _ in range(runs):
            rate = flops / min(clock(evaluate)[0] for _ in range(2))
            turns.append((rate, matmul_rate(CPU, torch.float32, runs=2)))
        share = median(a / b for a, b in turns)
        out.append({"rows": rows, "rate": median(a for a, _ in turns), "share": share, "mb": mb})
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--page", type=Path, help="also the table of docs/performance.md")
    parser.add_argument("--one", choices=MODELS, help="one network, as JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.one, options.runs)))
        return
    check_place(options.page, "rows")
    about, heads, columns = environment(CPU), ["rows"], [[str(n) for n in ROWS]]
    for network in MODELS:  # in processes of their own, for the memory
        found = apart(__file__, "--one", network, "--runs", str(options.runs))
        heads += [f"{network}, GFLOP/s", "of a product", "memory, MB"]
        columns.append([f"{one['rate'] / 1e9:.0f}" for one in found])
        columns.append([f"{one['share']:.0%}" for one in found])
        columns.append(["" if one["mb"] is None else f"{one['mb']:.0f}" for one in found])
    told = "\n".join(
        [
            f"{about['cpu']}, {about['threads']} threads, load at the start {about['load']}; "
            f"{CPU_POSITIONS // SIDE**2} rows is what is taken.",
            "",
            table(heads, list(zip(*columns, strict=True))),
        ]
    )
    print(told)
    if options.page:
        put(options.page, "rows", told)


if __name__ == "__main__":
    stoppable(main)
