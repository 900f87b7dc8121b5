"""How well a model of scenes does what it is told: measured by the judge on sampled pictures."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from noisespace.models.judges.alignment import Alignment
from noisespace.train.autoencoder import psnr
from noisespace.train.dataset import Scenes
from noisespace.train.draw import random_scene
from noisespace.train.export import Tell, draw_prompts
from noisespace.train.judge import Verdict, judge
from noisespace.train.palette import COLOURS, SHAPES, TEXTURES
from noisespace.train.pictures import save_grid, to_uint8
from noisespace.train.scenes import Scene

GUIDANCES = (1.5, 2.0, 3.0, 4.0, 5.0)
ASKED = ("shape", "colour", "background", "texture")
TUNED_ON = 40  # samples at each guidance, at most


def prompts_of(name: str, count: int, held_out: bool = False) -> list[Scene]:
    """Single-object scenes whose canonical captions are the prompts of the test ``name``."""
    rng = random.Random(f"evaluate {name}")
    return [random_scene(rng, held_out, objects=1) for _ in range(count)]


def right(scene: Scene, verdict: Verdict) -> dict[str, bool]:
    """Which attributes of the prompt the picture has; "joint" is shape, colour and background."""
    thing = scene.objects[0]
    found = {
        "shape": verdict.shape == thing.shape,
        "colour": verdict.colour == thing.colour,
        "background": verdict.background == scene.background,
        "texture": verdict.texture == thing.texture,
    }
    joint = found["shape"] and found["colour"] and found["background"]
    return {**found, "joint": joint, "all": joint and found["texture"], "found": verdict.found}


def sample(
    pipe: StableDiffusionPipeline,
    prompts: Sequence[str],
    guidance: float,
    steps: int = 50,
    tell: Tell | None = None,
) -> Tensor:
    """One picture a prompt, (n, 3, h, w) in [-1, 1]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # diffusers warns of what its own defaults do
        return draw_prompts(pipe, prompts, guidance, steps, tell=tell)


def score(
    pipe: StableDiffusionPipeline,
    scenes: Sequence[Scene],
    guidance: float,
    sheet: Path | None = None,
    tell: Tell | None = None,
) -> dict[str, float]:
    """Shares of sampled pictures with the right attributes, in [0, 1], and the judge's residual."""
    pictures = sample(pipe, [s.caption for s in scenes], guidance, tell=tell)
    if sheet is not None:
        save_grid(pictures[:32], sheet)
    verdicts = judge(to_uint8(pictures).numpy())
    rows = [right(scene, verdict) for scene, verdict in zip(scenes, verdicts, strict=True)]
    shares = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
    residuals = sorted(v.residual for v in verdicts)
    return {**shares, "median_residual": residuals[len(residuals) // 2], "pictures": len(rows)}


def tune_guidance(
    pipe: StableDiffusionPipeline, count: int = TUNED_ON, tell: Tell | None = None
) -> tuple[float, dict[str, Any]]:
    """The guidance that gets most attributes right on prompts used for nothing else."""
    scenes = prompts_of("guidance", count)
    scores = {w: score(pipe, scenes, w, tell=tell) for w in GUIDANCES}
    best = max(GUIDANCES, key=lambda w: (scores[w]["all"], -scores[w]["median_residual"]))
    return best, {str(w): s for w, s in scores.items()}


def samples_of(count: int) -> int:
    """How many pictures ``evaluate`` samples in all."""
    return len(GUIDANCES) * min(TUNED_ON, count) + 2 * count


@torch.no_grad()
def reconstruction(pipe: StableDiffusionPipeline, count: int = 300) -> dict[str, float]:
    """PSNR in dB of the autoencoder on scenes of held-out triples."""
    data = Scenes()
    pictures = data.pictures(data.draw(random.Random("evaluate reconstruction"), count, True))
    values = psnr(pipe.vae, pictures)
    return {
        "mean": round(float(values.mean()), 2),
        "worst": round(float(values.min()), 2),
        "share_above_30": round(float((values >= 30).float().mean()), 3),
        "pictures": count,
    }


def evaluate(
    pipe: StableDiffusionPipeline,
    count: int = 300,
    sheets: Path | None = None,
    tell: Tell | None = None,
) -> dict[str, Any]:
    """All figures of a model; its guidance is tuned on separate prompts."""
    began = time.monotonic()
    report: dict[str, Any] = {"reconstruction_db": reconstruction(pipe, count)}
    guidance, report["tuning"] = tune_guidance(pipe, min(TUNED_ON, count), tell)
    report["guidance"] = guidance
    for name, held_out in (("shown", False), ("held-out", True)):
        sheet = sheets / f"samples-{name}.png" if sheets else None
        report[name] = score(pipe, prompts_of(name, count, held_out), guidance, sheet, tell)
    report["seconds"] = round(time.monotonic() - began, 1)
    return report


@torch.no_grad()
def evaluate_alignment(alignment: Alignment, count: int = 300) -> dict[str, float]:
    """How often an alignment model names what unseen single-object scenes show, in [0, 1].

    Each attribute is asked for by itself: the caption that is the nearest among those that differ
    in this attribute alone. Guessing gets 1 in 8, 9, 9 and 3.
    """
    scenes = prompts_of("alignment", count, held_out=True)
    pictures = alignment.pictures(Scenes().pictures(scenes))
    right = dict.fromkeys(ASKED, 0)
    for picture, scene in zip(pictures, scenes, strict=True):
        for asked in ASKED:
            others = variants(scene, asked)
            texts = alignment.prompts([other.caption for other in others])
            right[asked] += others[int((texts.to(picture) @ picture).argmax())] == scene
    return {asked: round(found / count, 3) for asked, found in right.items()}


def variants(scene: Scene, asked: str) -> list[Scene]:
    """A single-object scene with every value of one attribute."""
    thing = scene.objects[0]
    if asked == "background":
        return [replace(scene, background=c) for c in COLOURS if c != thing.colour]
    values: dict[str, Sequence[str]] = {
        "shape": SHAPES,
        "colour": [c for c in COLOURS if c != scene.background],
        "texture": TEXTURES,
    }
    return [replace(scene, objects=(replace(thing, **{asked: v}),)) for v in values[asked]]
