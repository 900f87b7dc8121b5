"""A whole training run: autoencoder, pool, diffusion, evaluation, export."""

from __future__ import annotations

import random
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, StableDiffusionPipeline

from noisespace.errors import InputError
from noisespace.files import remove_leftovers, write_json
from noisespace.train.alignment import AlignmentTask, build_alignment
from noisespace.train.autoencoder import AutoencoderTask, build_autoencoder
from noisespace.train.checkpoint import load_checkpoint, read_header
from noisespace.train.config import Config, load_config
from noisespace.train.dataset import Dataset, Scenes
from noisespace.train.diffusion import DiffusionTask, build_networks
from noisespace.train.export import assemble, draw_prompts
from noisespace.train.folder import read_folder
from noisespace.train.loop import Outcome, fit, outcome_of
from noisespace.train.pictures import save_grid
from noisespace.train.pool import make_pool, pool_scale

SHEET_GUIDANCE = 3.0  # of the sample sheets, before the model's own is tuned


@dataclass(frozen=True)
class Trained:
    """What a run ends with: the averaged weights, and what each stage took.

    ``towers`` is the alignment model and its tokenizer, None in a snapshot from before its stage.
    """

    pipeline: StableDiffusionPipeline
    config: Config
    autoencoder: Outcome
    diffusion: Outcome
    towers: tuple[Any, Any] | None = None
    alignment: Outcome | None = None


def run(
    config: str | Path,
    out: str | Path,
    resume: bool = False,
    data: str | Path | None = None,
    **overrides: Any,
) -> Trained:
    """Trains a text-to-image model on a data set ("scenes", or a JSON file of settings).

    Everything goes to the folder ``out``; with ``resume`` a run that was stopped or killed goes on
    from its last checkpoint. Overrides name a stage and a field: ``diffusion__steps=100``.
    Raises InputError for bad settings or an ``out`` that holds a run already.
    """
    settings, out = prepare(config, Path(out), resume, data, **overrides)
    seen = dataset(settings, out)
    vae = build_autoencoder(settings.autoencoder, seen.size, settings.seed)
    first = fit(AutoencoderTask(vae, settings.autoencoder, seen, settings.seed), settings, out)
    pipe, second = train_diffusion(vae, settings, seen, out)
    towers, third = train_alignment(settings, seen, out)
    return Trained(pipe, settings, first, second, towers, third)


def run_alignment(
    config: str | Path,
    out: str | Path,
    resume: bool = False,
    data: str | Path | None = None,
    **overrides: Any,
) -> tuple[tuple[Any, Any], Outcome, Config]:
    """Trains the alignment model alone: (towers, tokenizer), what it took, the settings."""
    settings, out = prepare(config, Path(out), resume, data, **overrides)
    return *train_alignment(settings, dataset(settings, out), out), settings


def prepare(
    config: str | Path, out: Path, resume: bool, data: str | Path | None = None, **overrides: Any
) -> tuple[Config, Path]:
    """The checked settings, and the run's folder with them in it."""
    settings = load_config(config, data, **overrides)
    refuse_a_second_run(out, resume)
    out.mkdir(parents=True, exist_ok=True)
    remove_leftovers(out)
    write_json(out / "config.json", settings.model_dump(mode="json"), force=True)
    return settings, out


def dataset(settings: Config, out: Path) -> Dataset:
    """The data set that the settings name; what is read of a folder is kept in ``out``."""
    if settings.data != "scenes":
        return read_folder(
            Path(settings.data), settings.size, out / "pixels.npy", mirror=settings.mirror
        )
    if settings.size != Scenes.size:
        raise InputError(f"got size {settings.size}, expected {Scenes.size}: scenes have no other")
    return Scenes()


def refuse_a_second_run(out: Path, resume: bool) -> None:
    """A folder that holds a run is only gone on with, so that neither overwrites the other."""
    for stage in (AutoencoderTask, AlignmentTask):
        path = out / f"{stage.name}.safetensors"
        if path.exists() and not resume:
            raise InputError(
                f"{path}: exists already; continue with --resume or name another folder"
            )


def load_run(out: str | Path) -> Trained:
    """The averaged weights of the last checkpoints in a run's folder, finished or not."""
    out = Path(out)
    settings = load_config(out / "config.json")
    data = dataset(settings, out)
    vae = build_autoencoder(settings.autoencoder, data.size, settings.seed)
    vae.register_to_config(scaling_factor=pool_scale(out / "pool.safetensors"))
    tokenizer, networks = build_networks(settings, data)
    outcomes = []
    both, words = build_alignment(settings.alignment, data, settings.seed)
    modules = {"autoencoder": vae, "diffusion": networks}
    if late := (out / f"{AlignmentTask.name}.safetensors").exists():
        modules[AlignmentTask.name] = both
    for name, module in modules.items():
        ema = {k: v.detach().clone() for k, v in module.state_dict().items()}
        path = out / f"{name}.safetensors"
        header = read_header(path)
        load_checkpoint(path, module, ema)
        module.load_state_dict(ema)
        module.eval().requires_grad_(False)
        outcomes.append(outcome_of(header))
    first, second, *third = outcomes
    pipe = assemble(vae, tokenizer, networks)
    return Trained(pipe, settings, first, second, (both["towers"], words) if late else None, *third)


def train_diffusion(
    vae: AutoencoderKL, settings: Config, data: Dataset, out: Path
) -> tuple[StableDiffusionPipeline, Outcome]:
    """The second stage, on the latents of a trained autoencoder."""
    stage, seed = settings.diffusion, settings.seed
    vae.eval().requires_grad_(False)
    items, latents, scale = make_pool(vae, data, stage.pool, seed, out / "pool.safetensors")
    vae.register_to_config(scaling_factor=scale)
    tokenizer, networks = build_networks(settings, data)
    pipe = assemble(vae, tokenizer, networks)

    def draw_sheet(path: Path) -> None:
        rng = random.Random(f"sheet {seed}")
        shown = data.draw(rng, 8) + data.draw(rng, 8, unseen=True)
        prompts = [data.caption(item, rng) for item in shown]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pictures = draw_prompts(pipe, prompts, SHEET_GUIDANCE, steps=25, batch=16)
        save_grid(pictures, path)
        path.with_suffix(".txt").write_text("\n".join(prompts) + "\n", encoding="utf-8")

    task = DiffusionTask(networks, stage, data, tokenizer, latents, items, seed, draw_sheet)
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
