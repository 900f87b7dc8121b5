"""A whole training run: autoencoder, pool, diffusion, alignment model, classifier."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, StableDiffusionPipeline

from noisespace.errors import InputError
from noisespace.system.files import alone, remove_leftovers, write_json
from noisespace.train.alignment import AlignmentTask, build_alignment
from noisespace.train.autoencoder import AutoencoderTask, build_autoencoder, encode_all
from noisespace.train.checkpoint import load_checkpoint, read_header
from noisespace.train.classifier import Classifier, ClassifierTask, Labels, build_classifier
from noisespace.train.config import STAGES, Config, load_config
from noisespace.train.dataset import Dataset, Scenes
from noisespace.train.diffusion import DiffusionTask, build_networks
from noisespace.train.evaluate import sample
from noisespace.train.export import assemble
from noisespace.train.folder import Folder, read_folder
from noisespace.train.loop import Outcome, fit, outcome_of
from noisespace.train.pictures import save_grid
from noisespace.train.pool import make_pool, pool_scale
from noisespace.train.processes import check_parts, processes

COMPARED = 128  # pictures, seen and unseen, whose loss by noise level is told
SHEET_GUIDANCE = 3.0  # of the sample sheets, before the model's own is tuned


@dataclass(frozen=True)
class Trained:
    """What a run ends with: the averaged weights, and what each stage took.

    ``towers``: the alignment model and its tokenizer; ``classifier``: what judges samples of a
    folder. None where a snapshot was taken before their stages, or the settings have none.
    """

    pipeline: StableDiffusionPipeline
    config: Config
    data: Dataset
    outcomes: dict[str, Outcome]
    towers: tuple[Any, Any] | None = None
    classifier: Classifier | None = None


def run(
    config: str | Path,
    out: str | Path,
    resume: bool = False,
    data: str | Path | None = None,
    **overrides: Any,
) -> Trained:
    """Trains a text-to-image model on ``data``: "scenes", or a folder of captioned images.

    ``config``: a preset's name, or a JSON file of settings. Everything goes to the folder ``out``;
    with ``resume`` a run that was stopped or killed goes on from its last checkpoint. Overrides
    name a stage and a field: ``diffusion__steps=100``.
    Raises InputError for bad settings, images or captions, or an ``out`` that holds a run already.
    """
    settings, out = load_config(config, data, **overrides), Path(out)
    with held(out):
        prepare(settings, out, resume, stages_of(settings))
        seen = dataset(settings, out)
        labels_of(settings, seen)  # refused now, not after hours
        vae = build_autoencoder(settings.autoencoder, seen.size, settings.seed)
        outcomes = {"autoencoder": fit(autoencoder_task(vae, settings, seen), settings, out)}
        pipe, outcomes["diffusion"] = train_diffusion(vae, settings, seen, out)
        towers, outcomes["alignment"] = train_alignment(settings, seen, out)
        judge = None
        if settings.attributes:
            judge, outcomes["classifier"] = train_classifier(settings, seen, out)
        return Trained(pipe, settings, seen, outcomes, towers, judge)


def run_alone(
    stage: str,
    config: str | Path,
    out: str | Path,
    resume: bool = False,
    data: str | Path | None = None,
    **overrides: Any,
) -> tuple[Any, Outcome, Config, Dataset]:
    """Trains one of SEPARATE, which needs no other stage: (what it gives, what it took, ...)."""
    settings, out = load_config(config, data, **overrides), Path(out)
    with held(out):
        prepare(settings, out, resume, (stage,))
        seen = dataset(settings, out)
        return *SEPARATE[stage](settings, seen, out), settings, seen


@contextmanager
def held(out: Path) -> Iterator[None]:
    """A run's folder, held by the first of its processes.

    Of a run that was refused before it learnt anything no folder stays, unless it was there.
    """
    if not processes().is_main_process:
        yield
        return
    made = [folder for folder in (out, *out.parents) if not folder.exists()]  # innermost first
    try:
        with alone(out):
            yield
    except InputError:
        if made and not any(out.glob("*.safetensors")):
            shutil.rmtree(out, ignore_errors=True)
            for folder in made[1:]:
                with suppress(OSError):  # something else lies there by now
                    folder.rmdir()
        raise


def stages_of(settings: Config) -> tuple[str, ...]:
    """The stages of a whole run."""
    return STAGES if settings.attributes else tuple(s for s in STAGES if s != "classifier")


def prepare(settings: Config, out: Path, resume: bool, stages: tuple[str, ...]) -> None:
    """Checks that a run may go on in its folder, and writes the settings there."""
    state = processes()
    check_parts(settings, stages)
    refuse_a_second_run(out, resume, settings)
    state.wait_for_everyone()  # before one of several processes writes what the others look for
    if state.is_main_process:
        remove_leftovers(out)
        write_json(out / "config.json", settings.model_dump(mode="json"), force=True)
    state.wait_for_everyone()


def dataset(settings: Config, out: Path) -> Dataset:
    """The data set that the settings name; what is read of a folder is kept in ``out``."""
    if settings.data != "scenes":
        with processes().main_process_first():  # the others find what it kept
            begun = any((out / f"{stage}.safetensors").exists() for stage in STAGES)
            where = (Path(settings.data), settings.size, out / "pixels.npy")
            return read_folder(*where, mirror=settings.mirror, begun=begun)
    if settings.size != Scenes.size:
        raise InputError(f"got size {settings.size}, expected {Scenes.size}: scenes have no other")
    return Scenes()


def refuse_a_second_run(out: Path, resume: bool, settings: Config) -> None:
    """A folder that holds a run is only gone on with, and only with settings that teach the same.

    So neither of two runs overwrites the other, and none is half of one and half of another.
    """
    for stage in STAGES:
        path = out / f"{stage}.safetensors"
        if not path.exists():
            continue
        if not resume:
            raise InputError(
                f"{path}: exists already; continue with --resume or name another folder"
            )
        wanted = settings.of_stage(stage)
        found = read_header(path).get("settings", wanted)
        for key in sorted(found.keys() | wanted.keys()):
            if found.get(key) != wanted.get(key):
                raise InputError(
                    f"{path}: was made with {key}={found.get(key)!r}, the settings now say "
                    f"{wanted.get(key)!r}; go on with the former or name another folder"
                )


def load_run(out: str | Path) -> Trained:
    """The averaged weights of the last checkpoints in a run's folder, finished or not."""
    out = Path(out)
    settings = load_config(out / "config.json")
    data = dataset(settings, out)
    vae = build_autoencoder(settings.autoencoder, data.size, settings.seed)
    vae.register_to_config(scaling_factor=pool_scale(out / "pool.safetensors"))
    tokenizer, networks = build_networks(settings, data)
    both, words = build_alignment(settings.alignment, data, settings.seed)
    modules = {"autoencoder": vae, "diffusion": networks, "alignment": both}
    labels = labels_of(settings, data)
    if labels is not None:
        modules["classifier"] = build_classifier(
            settings.classifier, labels, data.size, settings.seed
        )
    outcomes = {}
    for name, module in modules.items():
        path = out / f"{name}.safetensors"
        if not path.exists() and name in SEPARATE:
            continue
        header, ema = read_header(path), module.state_dict()
        load_checkpoint(path, module, ema)
        module.eval().requires_grad_(False)
        outcomes[name] = outcome_of(header)
    towers = (both["towers"], words) if "alignment" in outcomes else None
    judge = None
    if labels is not None and "classifier" in outcomes:
        judge = Classifier(modules["classifier"], labels, settings.classifier.size)
    return Trained(assemble(vae, tokenizer, networks), settings, data, outcomes, towers, judge)


def autoencoder_task(vae: AutoencoderKL, settings: Config, data: Dataset) -> AutoencoderTask:
    return AutoencoderTask(vae, settings.autoencoder, data, settings.seed)


def train_diffusion(
    vae: AutoencoderKL, settings: Config, data: Dataset, out: Path
) -> tuple[StableDiffusionPipeline, Outcome]:
    """The second stage, on the latents of a trained autoencoder."""
    stage, seed = settings.diffusion, settings.seed
    vae.eval().requires_grad_(False)
    with processes().main_process_first():
        items, latents, scale = make_pool(vae, data, stage.pool, seed, out / "pool.safetensors")
    vae.register_to_config(scaling_factor=scale)
    tokenizer, networks = build_networks(settings, data)
    pipe = assemble(vae, tokenizer, networks)

    def draw_sheet(path: Path) -> None:
        rng = random.Random(f"sheet {seed}")
        shown = data.draw(rng, 8) + data.draw(rng, 8, unseen=True)
        prompts = [data.caption(item, rng) for item in shown]
        save_grid(sample(pipe, prompts, SHEET_GUIDANCE, steps=25), path)
        path.with_suffix(".txt").write_text("\n".join(prompts) + "\n", encoding="utf-8")

    rng = random.Random(f"validation {seed}")
    unseen = data.draw(rng, COMPARED, unseen=True)
    coded = encode_all(vae, data.pictures(unseen)) * scale
    compared = {
        "training": (latents[:COMPARED], [data.caption(item, rng) for item in items[:COMPARED]]),
        "validation": (coded, [data.caption(item, rng) for item in unseen]),
    }
    parts = (tokenizer, latents, items, seed, draw_sheet, compared)
    task = DiffusionTask(networks, stage, data, *parts)
    outcome = fit(task, settings, out)
    networks.eval()
    return pipe, outcome


def train_alignment(settings: Config, data: Dataset, out: Path) -> tuple[tuple[Any, Any], Outcome]:
    """The third stage: (towers, tokenizer), and what it took."""
    stage = settings.alignment
    module, tokenizer = build_alignment(stage, data, settings.seed)
    outcome = fit(AlignmentTask(module, stage, data, tokenizer, settings.seed), settings, out)
    module.eval().requires_grad_(False)
    return (module["towers"], tokenizer), outcome


def train_classifier(settings: Config, data: Dataset, out: Path) -> tuple[Classifier, Outcome]:
    """The fourth stage: what judges samples, and what it took."""
    labels = labels_of(settings, data)
    if labels is None or not isinstance(data, Folder):
        raise InputError(
            "there is nothing for a classifier to learn: name columns of the captions' table, "
            """as in --set 'attributes=["kind"]'"""
        )
    stage = settings.classifier
    module = build_classifier(stage, labels, data.size, settings.seed)
    outcome = fit(ClassifierTask(module, stage, data, labels, settings.seed), settings, out)
    module.eval().requires_grad_(False)
    return Classifier(module, labels, stage.size), outcome


def labels_of(settings: Config, data: Dataset) -> Labels | None:
    """What the classifier learns; InputError where the settings name what the data has not."""
    if not settings.attributes:
        return None
    if not isinstance(data, Folder):
        raise InputError("attributes are columns of a folder's table: scenes have none")
    return Labels.of(data, settings.attributes)


SEPARATE: dict[str, Callable[[Config, Dataset, Path], tuple[Any, Outcome]]] = {
    "alignment": train_alignment,
    "classifier": train_classifier,
}
