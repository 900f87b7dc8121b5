"""What is measured of a benchmark's pictures: chosen metrics, the true edit, the scenes' judge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from noisespace.bench.cases import Case
from noisespace.bench.edited import Edit
from noisespace.bench.judges import Judges
from noisespace.bench.metrics import METRICS, Metric, by_case, find, measure
from noisespace.bench.scene_judge import verdicts

TRUTH = ("psnr", "ssim", "lpips_alex")  # to the true edit, where it is known
PLAIN = ("psnr", "mse", "ssim", "ms_ssim", "lpips_alex", "lpips_vgg", "vgg_structure")
MASKED = (
    "psnr_inside",
    "psnr_outside",
    "ssim_map_outside",
    "lpips_map_alex_outside",
)
PIE = ("pie_psnr", "pie_mse", "pie_ssim", "pie_lpips", "pie_structure", "pie_clip_edited")
TOWERS = ("alignment", "alignment_direction", "alignment_accuracy")
CLIP = ("clip", "clip_direction", "clip_accuracy")
JUDGED = {"as_asked": "share", "other_kept": "share"}  # of scenes, by rendering
UNKNOWN_SIZE = 176  # MS-SSIM's; smaller data sets are not asked for it by default


@dataclass(frozen=True)
class Column:
    """A measured column: what it is in, and which way is better."""

    name: str
    unit: str
    better: str
    region: str = "whole"
    against: str = "the input"


@dataclass(frozen=True)
class Scoring:
    """Measures edits: ``scoring(case, picture, mask)`` gives a value (or None) a column.

    ``names``: metrics against the input; where a case has a true edit, those of TRUTH among them
    are taken against it too, as ``NAME_truth``; scenes are judged by rendering.
    """

    names: tuple[str, ...]
    judges: Judges

    def __call__(
        self, case: Case, picture: np.ndarray, mask: np.ndarray | None
    ) -> dict[str, float | None]:
        where = case.where() if case.mask is not None else mask
        edit = Edit(case.pixels(), picture, where, case.source or None, case.target or None)
        found = dict(by_case(measure([edit], self.names, self.judges))[0])
        if (truth := case.true_edit()) is not None:
            names = [name for name in TRUTH if name in self.names]
            true = measure([replace(edit, source=truth)], names, self.judges)
            found |= {f"{name}_truth": value for name, value in by_case(true)[0].items()}
        scene = case.about.get("edit")
        if scene is not None and picture.shape == (64, 64, 3):
            done, kept = verdicts([scene], picture[None])[0]
            found |= {"as_asked": float(done), "other_kept": float(kept)}
        return {name: found.get(name) for name in found}

    def missing(self, case: Case) -> dict[str, str]:
        """The metrics that cannot be had here, and how to get them: told before a run."""
        pixels = case.pixels()
        edit = Edit(pixels, pixels, case.where(), case.source or None, case.target or None)
        told = measure([edit], self.names, self.judges)
        return {name: m.reason or "" for name, m in told.items() if m.values is None}


def default_names(cases: Sequence[Case], judges: Judges, smallest: int) -> tuple[str, ...]:
    """What is measured where nobody says: all that the data and the named networks allow."""
    names = [n for n in PLAIN if n != "ms_ssim" or smallest >= UNKNOWN_SIZE]
    if any(case.mask is not None for case in cases):
        names += MASKED
    if any(case.about.get("data") == "PIE-Bench" for case in cases):
        names += [n for n in PIE if n != "pie_clip_edited" or judges.clip is not None]
    if judges.alignment is not None:
        names += TOWERS
    if judges.clip is not None:
        names += CLIP
    if judges.dino is not None:
        names.append("dino_structure")
    return tuple(names)


def columns(names: Sequence[str]) -> dict[str, Column]:
    """What each measured column is, by its name in the rows."""
    found = {}
    for name in names:
        if name in JUDGED:
            found[name] = Column(name, JUDGED[name], "up", against="the prompt, by rendering")
        elif name.endswith("_truth"):
            metric = find(name.removesuffix("_truth"))
            found[name] = of_metric(metric, name, "the true edit")
        elif name in METRICS:
            found[name] = of_metric(METRICS[name], name)
    return found


def of_metric(metric: Metric, name: str, against: str = "the input") -> Column:
    own = "the prompts" if metric.prompts and metric.name.split("_")[0] != "pie" else against
    return Column(name, metric.unit, metric.better, metric.region, own)


def number(value: Any) -> float:
    """A row's value as a float: NaN where there is none."""
    return math.nan if value is None else float(value)
