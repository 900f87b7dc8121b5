"""Times noisespace against the textbook order: same weights, settings, machine, interleaved runs.

    python benchmarks/speed.py [--model scenes] [--runs 5]

Prints medians and the median of the pairs' ratios, and how far the results are apart.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from statistics import median

import numpy as np
import textbook
import torch

import noisespace as ns

SOURCE, TARGET = (
    "a plain red circle on a blue background",
    "a plain green circle on a blue background",
)


def clock(work) -> tuple[float, object]:
    start = time.perf_counter()
    out = work()
    return time.perf_counter() - start, out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="scenes")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    model = ns.load(options.model)
    side = model.resolution
    image = (np.random.default_rng(0).random((side, side, 3)) * 255).astype(np.uint8)
    x0 = ns.invert(model, image, SOURCE, ns.DDIM(), steps=1).path[-1]
    rows = []
    for _ in range(options.runs + 1):  # the first run warms up
        ours, code = clock(lambda: ns.invert(model, x0, SOURCE, steps=100, guidance=3.5))
        theirs, maps = clock(lambda: textbook.invert(model, x0, SOURCE))
        ours_edit, _ = clock(partial(ns.edit, model, code, TARGET, guidance=15.0))
        theirs_edit, _ = clock(partial(textbook.edit, model, maps, TARGET))
        rows.append((ours, theirs, ours_edit, theirs_edit))
    rows = rows[1:]
    for name, pairs in (
        ("inversion", [(a, b) for a, b, _, _ in rows]),
        ("edit", [(c, d) for _, _, c, d in rows]),
        ("inversion + edit", [(a + c, b + d) for a, b, c, d in rows]),
    ):
        ratio = [theirs / ours for ours, theirs in pairs]
        print(
            f"{name}: ours {median(a for a, _ in pairs):.3f} s, "
            f"textbook {median(b for _, b in pairs):.3f} s, "
            f"ratio {median(ratio):.2f} ({min(ratio):.2f} to {max(ratio):.2f})"
        )
    print(f"threads {torch.get_num_threads()}, model {model.name}, runs {options.runs}")


if __name__ == "__main__":
    main()
