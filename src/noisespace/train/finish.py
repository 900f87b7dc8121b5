"""The end of a run: round to float16, evaluate what was rounded, write the model's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from noisespace.errors import InputError
from noisespace.inversion import METHODS
from noisespace.models.judges.alignment import load_alignment
from noisespace.system.fields import fields_of
from noisespace.system.files import write_json
from noisespace.train import captioned, evaluate
from noisespace.train.captioned import Judges, evaluate_captioned, evaluate_captions
from noisespace.train.card import TITLES, embedded, model_card
from noisespace.train.classifier import export_classifier, load_classifier
from noisespace.train.config import Config
from noisespace.train.dataset import Dataset
from noisespace.train.evaluate import evaluate_alignment
from noisespace.train.export import export, export_alignment, load_exported
from noisespace.train.folder import Folder
from noisespace.train.loop import Outcome, bar
from noisespace.train.processes import processes
from noisespace.train.run import Trained, load_run

# Guidance by method, tuned once on pictures used for nothing else: benchmarks/tune_scenes.py on
# scenes, benchmarks/tune_photos.py on training images
TUNED = {
    "scenes": {
        "edit-friendly": {"invert": 1.0, "edit": 2.0},
        "cycle-diffusion": {"edit": 2.0},
        "ddim": {"edit": 1.5},
        "fixed-point": {"edit": 1.5},
        "direct": {"edit": 1.5},
        "negative-prompt": {"edit": 1.5},
        "prox-npi": {"edit": 1.5},
        "sdedit": {"edit": 1.5},
    },
    "photos": {
        "edit-friendly": {"invert": 1.0, "edit": 5.0},
        "cycle-diffusion": {"edit": 7.5},
        "ddim": {"edit": 5.0},
        "fixed-point": {"edit": 5.0},
        "direct": {"edit": 5.0},
        "negative-prompt": {"edit": 3.0},
        "prox-npi": {"edit": 3.0},
        "sdedit": {"edit": 7.5},
    },
}


def guidances(known: str) -> dict[str, dict[str, float]]:
    """The guidance of every method on an embedded model.

    What was not tuned takes that of DDIM, but for methods that edit without guidance or hold their
    own.
    """
    found = TUNED[known]
    rest = [name for name in METHODS if name not in found and takes_guidance(METHODS[name])]
    return {**found, **dict.fromkeys(rest, found["ddim"])}


def takes_guidance(method: Any) -> bool:
    return method.defaults.edit != 1 and "guidance" not in {f.name for f in fields_of(method)}


def publish(trained: Trained, folder: Path, report: dict[str, Any] | None = None) -> None:
    """Writes the pipeline with its notes to ``folder``; without a report, as a snapshot."""
    config, figures = trained.config, report or {}
    known, size = embedded(trained), config.size
    name = known or config.name
    notes = {
        "format": 1,
        "name": name,
        "title": f"{TITLES[known] if known else f'Captioned images of {name}'}, {size} x {size}",
        "size": size,
        "defaults": {
            "sample": {"steps": 50, "guidance": figures.get("guidance", 3.0)},
            "methods": guidances(known) if known else {},
        },
        "training": {
            "command": config.command,
            "seed": config.seed,
            "samples": {name: stage.samples for name, stage in trained.outcomes.items()},
            "steps": {name: stage.steps for name, stage in trained.outcomes.items()},
            "seconds": {name: round(stage.seconds) for name, stage in trained.outcomes.items()},
            "figures": {k: v for k, v in figures.items() if k not in {"tuning", "seconds"}},
        },
    }
    card = model_card(trained, figures)
    export(trained.pipeline, folder, notes, card, trained.towers, trained.data.patterns())


def publish_snapshot(out: Path) -> str:
    """Writes OUT/model from the last checkpoints of a run that may still be going on."""
    for name in ("config.json", "autoencoder.safetensors", "diffusion.safetensors"):
        if not (out / name).is_file():
            raise InputError(f"{out}: has no {name} yet; train until its second stage has begun")
    publish(load_run(out), out / "model")
    return str(out / "model")


def finish(trained: Trained, out: Path, folder: Path) -> dict[str, Any]:
    """Publishes, evaluates the published (rounded) weights, publishes again with the figures."""
    publish(trained, folder)
    device, count, data = processes().device, trained.config.evaluate, trained.data
    pipe, towers = load_exported(folder, device), load_alignment(folder, str(device))
    known = isinstance(data, Folder)
    total = (captioned if known else evaluate).samples_of(count)
    with bar() as progress:  # samples take nearly all of the time
        job = progress.add_task("evaluation", total=total, note="samples")

        def tell(done: int) -> None:
            progress.update(job, advance=done)

        if known:
            if trained.classifier is not None:
                export_classifier(trained.classifier, out / "classifier")
            judges = Judges(towers, trained.classifier)
            report = evaluate_captioned(pipe, data, judges, count, out, tell)
        else:
            report = evaluate.evaluate(pipe, count, out, tell)
            report["alignment"] = evaluate_alignment(towers, count)
    write_json(out / "evaluation.json", report, force=True)
    publish(trained, folder, report)
    return report


def finish_alone(
    stage: str, found: tuple[Any, Outcome, Config, Dataset], out: Path
) -> dict[str, Any]:
    """Writes what a separate stage gave to OUT/<stage> and says how well it does."""
    made, outcome, settings, data = found
    folder = out / stage
    if stage == "classifier":
        export_classifier(made, folder)
        shares = load_classifier(folder).accuracy(data)  # type: ignore[arg-type]
    else:
        export_alignment(made, folder)
        towers = load_alignment(folder, str(processes().device))
        known = isinstance(data, Folder)
        shares = (
            evaluate_captions(towers, data)
            if known
            else evaluate_alignment(towers, settings.evaluate)
        )
    report = {"samples": outcome.samples, "seconds": round(outcome.seconds), **shares}
    write_json(out / f"{stage}-evaluation.json", report, force=True)  # beside that of a whole run
    return report
