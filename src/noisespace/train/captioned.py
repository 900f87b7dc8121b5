"""How well a model of a folder does what it is told: on sampled pictures and unseen images."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from noisespace.models.judges.alignment import Alignment
from noisespace.train.autoencoder import psnr
from noisespace.train.classifier import NOTHING, Classifier
from noisespace.train.evaluate import GUIDANCES, sample
from noisespace.train.export import Tell
from noisespace.train.folder import Folder, View
from noisespace.train.memorised import memorised
from noisespace.train.pictures import save_grid

TUNED_ON = 60  # samples at each guidance, at most


@dataclass(frozen=True)
class Judges:
    """What looks at the samples of a folder's model."""

    alignment: Alignment
    classifier: Classifier | None


def evaluate_captioned(
    pipe: StableDiffusionPipeline,
    data: Folder,
    judges: Judges,
    count: int,
    sheets: Path,
    tell: Tell | None = None,
) -> dict[str, Any]:
    """All figures of a model; the guidance is tuned by the alignment model, on other prompts.

    The classifier that counts how many samples are as asked has no part in that choice.
    """
    began = time.monotonic()
    report: dict[str, Any] = {"reconstruction_db": reconstruction(pipe, data, sheets)}
    report["alignment"] = evaluate_captions(judges.alignment, data)
    guidance, report["tuning"] = tune_guidance(pipe, data, judges.alignment, count, tell)
    report["guidance"] = guidance
    asked = unseen(data, count, "samples")
    pictures = sample(pipe, [data.captions[v.index] for v in asked], guidance, tell=tell)
    save_grid(pictures[:48], sheets / "samples.png")
    report["samples"] = agreement(judges, data, asked, pictures)
    report["memorised"] = memorised(pictures, data, sheets / "memorised.png")
    report["seconds"] = round(time.monotonic() - began, 1)
    return report


def unseen(data: Folder, count: int, name: str) -> list[View]:
    """``count`` unseen images in an order of the test ``name``, none twice while there are some."""
    rng = random.Random(f"evaluate {name}")
    numbers = data.numbers(unseen=True)
    drawn: list[int] = []
    while len(drawn) < count:
        drawn += rng.sample(numbers, min(len(numbers), count - len(drawn)))
    return [View(number) for number in drawn]


@torch.no_grad()
def reconstruction(pipe: StableDiffusionPipeline, data: Folder, sheets: Path) -> dict[str, float]:
    """PSNR in dB of the autoencoder on all unseen images."""
    items = [View(i) for i in data.numbers(unseen=True)]
    values = torch.cat([psnr(pipe.vae, x) for x in data.parts(items)])
    worst = [items[i] for i in values.argsort()[:8].tolist()]
    x = data.pictures(worst).to(pipe.vae.device)
    y = pipe.vae.decode(pipe.vae.encode(x).latent_dist.mode()).sample
    save_grid(torch.cat([x, y]), sheets / "reconstruction-worst.png")
    return {
        "mean": round(float(values.mean()), 2),
        "worst": round(float(values.min()), 2),
        "pictures": len(items),
    }


def samples_of(count: int) -> int:
    """How many pictures ``evaluate_captioned`` samples in all."""
    return len(GUIDANCES) * min(TUNED_ON, count) + count


def tune_guidance(
    pipe: StableDiffusionPipeline,
    data: Folder,
    alignment: Alignment,
    count: int,
    tell: Tell | None = None,
) -> tuple[float, dict[str, float]]:
    """The guidance whose samples the alignment model most often gives their own prompt.

    Of several that do equally well, the one whose samples are nearest to their prompts.
    ``count``: how many samples are behind a figure, here ``TUNED_ON`` at most.
    """
    count = min(TUNED_ON, count)
    prompts = [data.captions[v.index] for v in unseen(data, count, "guidance")]
    shares, near, known = {}, {}, all_captions(data)
    for w in GUIDANCES:
        pictures = sample(pipe, prompts, w, tell=tell)
        named = nearest(alignment, known, [pictures])
        shares[w] = round(sum(a == b for a, b in zip(named, prompts, strict=True)) / count, 4)
        near[w] = nearness(alignment, prompts, pictures)
    best = max(GUIDANCES, key=lambda w: (shares[w], near[w]))
    return best, {str(w): share for w, share in shares.items()}


@torch.no_grad()
def nearness(alignment: Alignment, prompts: Sequence[str], pictures: Tensor) -> float:
    """How near pictures are to their prompts on average, in [-1, 1]."""
    seen = alignment.pictures(pictures)
    return float((seen * alignment.prompts(prompts).to(seen)).sum(1).mean())


@torch.no_grad()
def nearest(alignment: Alignment, captions: Sequence[str], pictures: Iterable[Tensor]) -> list[str]:
    """For each picture, of several tensors, the caption that the alignment model puts nearest."""
    texts = alignment.prompts(captions)
    found: list[int] = []
    for x in (some for part in pictures for some in part.split(64)):
        seen = alignment.pictures(x)
        found += (seen @ texts.T.to(seen)).argmax(1).tolist()
    return [captions[i] for i in found]


def all_captions(data: Folder) -> tuple[str, ...]:
    """The distinct captions, those of unseen images too: where each image has its own, no unseen
    image's caption is among those of training."""
    return tuple(dict.fromkeys((*data.vocabulary(), *data.captions)))


def agreement(
    judges: Judges, data: Folder, asked: Sequence[View], pictures: Tensor
) -> dict[str, Any]:
    """The share of samples that show what was asked, and of real pictures for comparison."""
    captions = [data.captions[view.index] for view in asked]
    named = nearest(judges.alignment, all_captions(data), [pictures])
    right = sum(a == b for a, b in zip(named, captions, strict=True)) / len(captions)
    found: dict[str, Any] = {"pictures": len(pictures), "caption": round(right, 4)}
    if judges.classifier is not None:
        wanted = [data.about[view.index] for view in asked]
        found["classifier"] = judges.classifier.agreement(pictures, wanted)
        found["classifier on real unseen pictures"] = judges.classifier.accuracy(data)
    return found


def evaluate_captions(alignment: Alignment, data: Folder) -> dict[str, float]:
    """How often the nearest of all captions is an unseen image's own, in [0, 1].

    And how often it at least says the same in each column of the table that captions decide.
    """
    items = [View(i) for i in data.numbers(unseen=True)]
    known = dict(zip(data.captions, data.about, strict=True))
    named = nearest(alignment, all_captions(data), data.parts(items))
    right = [text == data.captions[v.index] for text, v in zip(named, items, strict=True)]
    shares = {"caption": round(sum(right) / len(items), 4)}
    for column in deciding(data):
        rows = [
            (known[text].get(column), value)
            for text, view in zip(named, items, strict=True)
            if (value := data.value(view, column)) not in NOTHING
        ]
        if rows:  # there may be no unseen image of which the table tells
            shares[column] = round(sum(a == b for a, b in rows) / len(rows), 4)
    return shares


def deciding(data: Folder) -> list[str]:
    """The columns with at most 100 values, each of which a caption tells for certain."""
    columns = dict.fromkeys(key for row in data.about for key in row)
    found = []
    for column in columns:
        told: dict[str, set] = {}
        for text, row in zip(data.captions, data.about, strict=True):
            told.setdefault(text, set()).add(str(row.get(column)))
        values = set().union(*told.values())
        if 2 <= len(values) <= 100 and all(len(one) == 1 for one in told.values()):
            found.append(column)
    return found
