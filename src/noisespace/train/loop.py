"""The training loop of every stage: rate, average, checkpoints, log, curve, progress with ETA."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from noisespace.errors import RunError
from noisespace.train.checkpoint import load_checkpoint, read_header, save_checkpoint
from noisespace.train.config import Stage
from noisespace.train.curve import draw_curve

LOG_EVERY = 20  # steps


class Task(Protocol):
    """What a stage trains."""

    @property
    def name(self) -> str:
        """Of its files."""
        ...

    @property
    def module(self) -> nn.Module:
        """All that is trained."""
        ...

    def loss(self, step: int) -> Tensor:
        """A scalar whose randomness is a function of the seed and the step alone."""
        ...

    def sheet(self, path: Path) -> None:
        """Writes a picture of what the module (its averaged weights) now does."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What a finished stage took."""

    steps: int
    samples: int
    seconds: float
    loss: float


def outcome_of(header: dict[str, Any]) -> Outcome:
    """What a checkpoint's header tells."""
    return Outcome(header["step"], header["samples"], header["seconds"], header["loss"])


def learning_rate(stage: Stage, step: int) -> float:
    """Warm-up, constant, then a linear fall over the last share of the steps."""
    start = stage.steps * (1 - stage.decay)
    fall = (stage.steps - step) / max(stage.steps - start, 1)
    return stage.rate * min(1.0, (step + 1) / max(stage.warmup, 1), max(fall, 0.0))


def fit(task: Task, stage: Stage, out: Path) -> Outcome:
    """Trains to ``stage.steps``; leaves the averaged weights in the task's module.

    ``out`` gets ``<name>.safetensors`` (the checkpoint), ``<name>.jsonl`` (the losses) and
    pictures. A checkpoint that is there already is gone on with.
    """
    path = out / f"{task.name}.safetensors"
    module = task.module.train()
    optimiser = torch.optim.AdamW(module.parameters(), stage.rate, (0.9, 0.99), weight_decay=0.01)
    ema = {k: v.detach().clone() for k, v in module.state_dict().items()}
    header: dict[str, Any] = {"step": 0, "samples": 0, "seconds": 0.0, "loss": 0.0}
    if path.exists():
        header = load_checkpoint(path, module, ema, optimiser)
        cut_log(out / f"{task.name}.jsonl", header["step"])
    if header["step"] < stage.steps:
        header = _train(task, stage, out, (optimiser, ema, header))
    module.load_state_dict(ema)
    return outcome_of(header)


def _train(task: Task, stage: Stage, out: Path, state: tuple) -> dict[str, Any]:
    optimiser, ema, header = state
    module, path = task.module, out / f"{task.name}.safetensors"
    began = saved = shown = time.monotonic()
    spent, mean, samples = header["seconds"], header["loss"], header["samples"]
    with bar() as progress, (out / f"{task.name}.jsonl").open("a", encoding="utf-8") as log:
        job = progress.add_task(task.name, total=stage.steps, completed=header["step"], note="")
        for step in range(header["step"], stage.steps):
            value = update(task, stage, optimiser, ema, step)
            mean = value if step == 0 else mean + (value - mean) / min(step + 1, 50)
            progress.update(job, advance=1, note=f"loss {mean:.4f}")
            now = time.monotonic()
            samples += stage.batch
            header = {
                "step": step + 1,
                "samples": samples,
                "seconds": spent + now - began,
                "loss": mean,
            }
            last = step + 1 == stage.steps
            if last or (step + 1) % LOG_EVERY == 0:
                log.write(json.dumps(header) + "\n")
                log.flush()
            if last or now - saved > stage.save_every:
                saved = now
                save_checkpoint(path, module, ema, optimiser, header)
                draw_curve(out / f"{task.name}.jsonl", out / f"{task.name}-loss.png")
            if last or now - shown > stage.sheet_every:
                shown = now
                _with_average(task, ema, out / f"{task.name}-sheet.png")
    return read_header(path)


def update(task: Task, stage: Stage, optimiser: Any, ema: dict[str, Tensor], step: int) -> float:
    """One step of AdamW and of the average; RunError when the loss is not a number."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(stage, step)
    loss = task.loss(step)
    value = float(loss.detach())
    if not value == value or value == float("inf"):
        raise RunError(f"{task.name}: the loss became {value} at step {step}; lower the rate")
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(task.module.parameters(), 1.0)
    optimiser.step()
    keep = min(stage.ema, (1 + step) / (10 + step))  # a short memory while there is little to keep
    with torch.no_grad():
        for key, tensor in task.module.state_dict().items():
            if tensor.is_floating_point():
                ema[key].lerp_(tensor, 1 - keep)
    return value


def _with_average(task: Task, ema: dict[str, Tensor], path: Path) -> None:
    """Draws the sheet with the averaged weights, then puts the current ones back."""
    current = {k: v.detach().clone() for k, v in task.module.state_dict().items()}
    task.module.load_state_dict(ema)
    task.module.eval()
    try:
        task.sheet(path)
    finally:
        task.module.train()
        task.module.load_state_dict(current)


def cut_log(path: Path, step: int) -> None:
    """Drops the lines beyond the checkpoint that a killed run had still written."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if _step(line) <= step]
        path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def _step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except ValueError:  # a line cut short by the kill
        return float("inf")


def bar() -> Progress:
    """A progress bar on standard error, with the time left."""
    columns = ("{task.description}", BarColumn(), "{task.completed}/{task.total}")
    note = TextColumn("{task.fields[note]}")
    return Progress(
        *columns, note, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)
    )
