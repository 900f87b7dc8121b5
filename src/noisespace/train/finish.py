"""The end of a run of scenes: round to float16, evaluate what was rounded, write the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from noisespace.files import write_json
from noisespace.models.alignment import load_alignment
from noisespace.train.config import Config
from noisespace.train.evaluate import evaluate, evaluate_alignment
from noisespace.train.export import export, export_alignment, load_exported
from noisespace.train.loop import Outcome
from noisespace.train.run import Trained

# Guidance by method, tuned once by benchmarks/tune_scenes.py on scenes used for nothing else
METHODS = {
    "edit-friendly": {"invert": 1.0, "edit": 2.0},
    "cycle-diffusion": {"edit": 2.0},
    "ddim": {"edit": 1.5},
    "fixed-point": {"edit": 1.5},
    "direct": {"edit": 1.5},
    "negative-prompt": {"edit": 1.5},
    "prox-npi": {"edit": 1.5},
    "sdedit": {"edit": 1.5},
    # not tuned by themselves: as the deterministic methods above
    "edict": {"edit": 1.5},
    "belm": {"edit": 1.5},
    "imagic": {"edit": 1.5},
    "unitune": {"edit": 1.5},
}

CARD = """# scenes

A small Stable Diffusion pipeline (AutoencoderKL, UNet2DConditionModel, CLIPTextModel,
DDIMScheduler) of {parameters:.1f} million parameters, trained from nothing on procedural pictures
of 64 x 64 pixels: one or two coloured, textured shapes on a background. It is meant for tests,
demonstrations and measurements of inversion and editing, where the true edit is known; it draws
nothing else. It has seen no photograph, no person and no text but its own captions.

Trained by `{command}` (seed {seed}): autoencoder {a_samples} pictures in {a_minutes:.0f} minutes,
U-Net and text encoder {d_samples} samples in {d_minutes:.0f} minutes, on 2 processor cores.
{figures}{alignment}
Licence: Apache-2.0, as the code that made it.
"""

TOWERS = """
alignment/ holds two towers (VisionTextDualEncoderModel: a ResNet and a CLIPTextModel) that
embed pictures and captions, trained on {samples} pictures in {minutes:.0f} minutes. Named on
held-out scenes, one attribute at a time: {named}.
It is no CLIP: it knows these pictures and captions alone.
"""


def publish(trained: Trained, folder: Path, report: dict[str, Any] | None = None) -> None:
    """Writes the pipeline with its notes to ``folder``; without a report, as a snapshot."""
    first, second = trained.autoencoder, trained.diffusion
    command = trained.config.command
    figures = report or {}
    stages = {"autoencoder": first, "diffusion": second}
    if trained.alignment is not None:
        stages["alignment"] = trained.alignment
    notes = {
        "format": 1,
        "name": "scenes",
        "title": "Procedural scenes, 64 x 64",
        "size": 64,
        "defaults": {
            "sample": {"steps": 50, "guidance": figures.get("guidance", 3.0)},
            "methods": METHODS,
        },
        "training": {
            "command": command,
            "seed": trained.config.seed,
            "samples": {name: stage.samples for name, stage in stages.items()},
            "steps": {name: stage.steps for name, stage in stages.items()},
            "seconds": {name: round(stage.seconds) for name, stage in stages.items()},
            "figures": {k: v for k, v in figures.items() if k not in {"tuning", "seconds"}},
        },
    }
    pipe = trained.pipeline
    networks = (pipe.vae, pipe.unet, pipe.text_encoder)
    card = CARD.format(
        parameters=sum(p.numel() for n in networks for p in n.parameters()) / 1e6,
        command=command,
        seed=trained.config.seed,
        a_samples=first.samples,
        a_minutes=first.seconds / 60,
        d_samples=second.samples,
        d_minutes=second.seconds / 60,
        figures=_figures(figures),
        alignment=_alignment(trained.alignment, figures.get("alignment", {})),
    )
    export(pipe, folder, notes, card, trained.towers)


def finish(trained: Trained, out: Path, folder: Path) -> dict[str, Any]:
    """Publishes, evaluates the published (rounded) weights, publishes again with the figures."""
    publish(trained, folder)
    report = evaluate(load_exported(folder), count=trained.config.evaluate, sheets=out)
    report["alignment"] = evaluate_alignment(load_alignment(folder), trained.config.evaluate)
    write_json(out / "evaluation.json", report, force=True)
    publish(trained, folder, report)
    return report


def finish_alignment(
    towers: tuple[Any, Any], outcome: Outcome, settings: Config, out: Path
) -> dict[str, Any]:
    """Writes OUT/alignment and says how well it tells pictures apart."""
    folder = out / "alignment"
    export_alignment(towers, folder)
    shares = evaluate_alignment(load_alignment(folder), settings.evaluate)
    report = {"samples": outcome.samples, "seconds": round(outcome.seconds), **shares}
    write_json(out / "evaluation.json", report, force=True)
    return report


def _figures(report: dict[str, Any]) -> str:
    if not report:
        return ""
    shown, kept = report["shown"], report["held-out"]
    return (
        f"Reconstruction of held-out scenes: {report['reconstruction_db']['mean']} dB. Shape, "
        f"colour and background\nall as asked (guidance {report['guidance']}, 50 DDIM steps): "
        f"{shown['joint']:.1%} of {shown['pictures']:.0f} prompts, "
        f"{kept['joint']:.1%} of {kept['pictures']:.0f}\nwith a held-out combination; texture: "
        f"{shown['texture']:.1%} and {kept['texture']:.1%}.\n"
    )


def _alignment(outcome: Outcome | None, shares: dict[str, float]) -> str:
    if outcome is None:
        return ""
    named = ", ".join(f"{what} {share:.0%}" for what, share in shares.items())
    return TOWERS.format(samples=outcome.samples, minutes=outcome.seconds / 60, named=named)
