"""Measured tables in a page of the documentation: between two comments, replaced as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from noisespace.system.files import write_bytes


def check_place(path: Path | None, name: str) -> None:
    """Ends in one sentence, before anything is measured, where `put` could not."""
    if path is not None:
        put(path, name, None)


def put(path: Path, name: str, text: str | None) -> None:
    """Replaces what stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``; None: only looks."""
    try:
        page = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path}: cannot be read as a page ({type(error).__name__})") from None
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if start not in page or end not in page:
        raise SystemExit(f"{path}: has no place {start} ... {end}")
    if text is None:
        return
    head, rest = page.split(start, 1)
    tail = rest.split(end, 1)[1]
    write_bytes(path, f"{head}{start}\n{text}\n{end}{tail}".encode(), force=True)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


# What was aimed at: the end of a row's name -> at least this ratio
AIMS = {
    "edit-friendly inversion": 6,
    "inversion + edit": 3,
    "a further edit against a re-run": 4,
    "8 prompts in a batch against one by one": 3,
    "null-text": 4,
    "null-text, the text's pass at every iteration": 4,
}
STARTUP_AIM, SHARE_AIM = 6.0, 0.45  # seconds; of a matrix product


def aim(row: dict[str, Any]) -> str:
    """A row's aim, and whether it is met."""
    if row["name"].startswith("command line"):
        return verdict(f"<= {STARTUP_AIM:.0f} s", row["ours_s"] <= STARTUP_AIM)
    least = next((v for end, v in AIMS.items() if row["name"].endswith(f": {end}")), None)
    if least is None or row["name"].startswith("sd-1.5"):
        return ""
    return verdict(f">= {least}x", row["ratio"] >= least)


def verdict(words: str, met: bool) -> str:
    return f"{words}: {'met' if met else '**missed**'}"


def bench_table(results: dict[str, Any]) -> str:
    """results.json as the page shows it."""
    about, flops = results["environment"], results["flops"]

    def mb(value: float | None) -> str:
        return "" if value is None else f"{value:.0f}"

    def what(row: dict[str, Any]) -> str:
        if "psnr_db" not in row:
            return row["name"]
        ours, theirs = row["psnr_db"]
        return f"{row['name']} (PSNR {ours:.1f} and {theirs:.1f} dB)"

    rows = [
        [
            what(row),
            f"{row['ours_s']:.2f}",
            f"{row['baseline_s']:.2f}",
            f"**{row['ratio']:.1f}x** ({row['spread'][0]:.1f} to {row['spread'][1]:.1f})",
            str(row["pairs"]),
            aim(row),
            mb(row["ours_mb"]),
            mb(row["baseline_mb"]),
        ]
        for row in results["rows"]
    ]
    heads = ("what", "ours, s", "baseline, s", "ratio, of pairs", "pairs", "aim")
    return "\n".join(
        [
            f"{about['cpu']}, {about['cores']} cores, {about['threads']} threads, torch "
            f"{about['torch']}, diffusers {about['diffusers']}; load of the machine at the start "
            f"{about['load']}{'; --quick' if about.get('quick') else ''}.",
            "",
            table((*heads, "ours, MB", "baseline, MB"), rows),
            "",
            f"Network {flops['network'] / 1e9:.0f} GFLOP/s of {flops['matmul'] / 1e9:.0f} of a "
            f"float32 matrix product (2048 x 2048), measured in turn: **{flops['share']:.0%}** "
            f"({verdict(f'aim >= {SHARE_AIM:.0%}', flops['share'] >= SHARE_AIM)}); the whole "
            f"inversion {flops['inversion_share']:.0%}, an edit of one picture, two rows a step, "
            f"{flops['edit_share']:.0%}.",
        ]
    )


def scaling_table(done: dict[str, Any]) -> str:
    """The points, the model and its errors."""
    cost = done["cost"]
    off, held = (np.abs(done[key]["all"]) for key in ("fitted_error", "held_out_error"))
    about = done["environment"]
    rows = [
        [
            str(p["steps"]),
            f"{p['width']}x{p['height']}",
            str(p["images"]),
            str(p["prompts"]),
            f"{p['seconds']:.2f}",
            f"{p['predicted']:.2f}{' *' if p['held_out'] else ''}",
        ]
        for p in done["points"]
    ]
    heads = ("steps", "pixels", "images", "prompts", "measured, s", "model, s")
    return "\n".join(
        [
            f"{about['cpu']}, {about['threads']} threads, load {about['load']} at the start and "
            f"{about['load_end']} at the end.",
            "",
            f"A batch {cost['batch_s'] * 1e3:.2f} ms; a row's latent position "
            f"{cost['position_s'] * 1e6:.2f} us, and {cost['position2_s'] * 1e9:.3f} ns times all "
            f"positions (attention); a job {cost['job_s'] * 1e3:.0f} ms; a position encoded or "
            f"decoded {cost['codec_position_s'] * 1e6:.1f} us. Error on the {len(off)} points of "
            f"the fit: median {np.median(off):.0%}, at most {off.max():.0%}; on {len(held)} that "
            f"were held out (starred): median {np.median(held):.0%}, at most {held.max():.0%}.",
            "",
            table(heads, rows),
        ]
    )
