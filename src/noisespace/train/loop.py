"""The training loop of every stage: rate, average, checkpoints, log, curve, progress with ETA.

Several processes (``accelerate launch -m noisespace train ...``) and the parts of a batch each
take their rows of the same batch, so that neither changes what a step learns.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from noisespace.errors import InputError, RunError
from noisespace.system.files import write_bytes
from noisespace.train.checkpoint import load_checkpoint, save_checkpoint
from noisespace.train.config import Config, Stage
from noisespace.train.curve import draw_curve
from noisespace.train.dataset import Part
from noisespace.train.processes import any_of, check_parts, mean_of, processes, stopping

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

    def loss(self, step: int, part: Part) -> Tensor:
        """The mean loss of a part of the step's batch.

        Its randomness is a function of the seed and the step alone.
        """
        ...

    def sheet(self, path: Path, step: int) -> None:
        """Writes a picture of what the module (its averaged weights) does after ``step`` steps."""
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
    """Warm-up, constant, then a fall to zero over the last share of the steps."""
    start = stage.steps * (1 - stage.decay)
    left = min(1.0, max(0.0, (stage.steps - step) / max(stage.steps - start, 1)))
    if stage.fall == "cosine":
        left = (1 - math.cos(math.pi * left)) / 2
    return stage.rate * min(1.0, (step + 1) / max(stage.warmup, 1), left)


def fit(task: Task, settings: Config, out: Path) -> Outcome:
    """Trains to the stage's ``steps``; leaves the averaged weights in the task's module.

    ``out`` gets ``<name>.safetensors`` (the checkpoint), ``<name>.jsonl`` (the losses) and
    pictures. A checkpoint that is there already is gone on with.
    """
    run = Fitting(task, settings, out)
    if run.header["step"] < run.stage.steps:
        run.train()
    task.module.load_state_dict(run.ema)
    return outcome_of(run.header)


class Fitting:
    """A stage that is trained: its module on the device, its optimiser, average and progress."""

    def __init__(self, task: Task, settings: Config, out: Path) -> None:
        self.task, self.out = task, out
        self.stage: Stage = getattr(settings, task.name)
        self.state = processes()
        check_parts(settings, (task.name,))
        self.precision = getattr(torch, settings.precision)
        self.module = task.module.to(self.state.device).train()
        self.optimiser = torch.optim.AdamW(
            self.module.parameters(),
            self.stage.rate,
            (0.9, 0.99),
            weight_decay=0.01,
            fused=self.state.device.type in ("cpu", "cuda"),  # a tenth of a small network's step
        )
        self.scaler = torch.amp.GradScaler(
            self.state.device.type, enabled=self.precision == torch.float16
        )
        self.ema = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
        self.header: dict[str, Any] = {"step": 0, "samples": 0, "seconds": 0.0, "loss": 0.0}
        self.made_by = settings.of_stage(task.name)
        self.path = out / f"{task.name}.safetensors"
        check_space(self.path, self.module)
        if self.path.exists():
            self.header = load_checkpoint(self.path, self.module, self.ema, self.optimiser)
            if self.header.get("scaler"):
                self.scaler.load_state_dict(self.header["scaler"])
        if self.state.is_main_process:
            cut_log(self.log_path, self.header["step"])

    @property
    def log_path(self) -> Path:
        return self.out / f"{self.task.name}.jsonl"

    def train(self) -> None:
        """All steps that are left."""
        before, self.began = self.header["seconds"], time.monotonic()
        self.saved = self.shown = self.began
        first, last = self.header["step"], self.stage.steps
        with bar(self.state.is_main_process) as progress, stopping() as stop:
            job = progress.add_task(self.task.name, total=last, completed=first, note="")
            for step in range(first, last):
                value, mean = self.update(step), self.header["loss"]
                mean = value if step == 0 else mean + (value - mean) / min(step + 1, 50)
                progress.update(job, advance=1, note=f"loss {mean:.4f}")
                self.header = {
                    "step": step + 1,
                    "samples": (step + 1) * self.stage.batch,
                    "seconds": before + time.monotonic() - self.began,
                    "loss": mean,
                }
                stopped = any_of(stop.is_set())
                if self.state.is_main_process:
                    self.keep(step + 1, stopped)
                if stopped:
                    self.state.wait_for_everyone()  # a launcher ends all when the first one ends
                    raise KeyboardInterrupt
        self.state.wait_for_everyone()

    def keep(self, step: int, stopped: bool) -> None:
        """Writes what is due after a step: log, checkpoint, sheet."""
        now, last = time.monotonic(), stopped or step == self.stage.steps
        if last or step % LOG_EVERY == 0:
            append(self.log_path, self.header)
        if last or now - self.saved > self.stage.save_every:
            self.saved = now
            self.save()
        if not stopped and (last or now - self.shown > self.stage.sheet_every):
            self.shown = now
            with averaged(self.module, self.ema):
                self.task.sheet(self.out / f"{self.task.name}-sheet.png", step)

    def save(self) -> None:
        """The checkpoint, and the curve so far."""
        header = {**self.header, "settings": self.made_by, "scaler": self.scaler.state_dict()}
        save_checkpoint(self.path, self.module, self.ema, self.optimiser, header)
        draw_curve(self.log_path, self.path.with_name(f"{self.task.name}-loss.png"))

    def update(self, step: int) -> float:
        """One step of AdamW and of the average; RunError when the loss is not a number."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.stage, step)
        self.optimiser.zero_grad(set_to_none=True)
        value = self.descend(step)
        self.scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        keep = min(self.stage.ema, (1 + step) / (10 + step))  # short while there is little to keep
        with torch.no_grad():
            for key, tensor in self.module.state_dict().items():
                if tensor.is_floating_point():
                    self.ema[key].lerp_(tensor, 1 - keep)
        return value

    def descend(self, step: int) -> float:
        """Leaves the batch's gradient in the parameters; returns its loss."""
        n, parts = self.stage.accumulate, self.stage.accumulate * self.state.num_processes
        total = 0.0
        for k in range(n):
            part = Part(self.state.process_index * n + k, parts)
            half = self.precision != torch.float32
            with torch.autocast(self.state.device.type, self.precision, enabled=half):
                loss = self.task.loss(step, part) / n
            if not math.isfinite(value := float(loss.detach())):
                raise RunError(
                    f"{self.task.name}: the loss became {value} at step {step}; lower the rate"
                )
            self.scaler.scale(loss).backward()
            total += value
        if self.state.num_processes > 1:
            total = self.share(total)
        return total

    def share(self, loss: float) -> float:
        """The mean of gradients, of running statistics and of the loss over all processes."""
        for parameter in self.module.parameters():
            if parameter.grad is not None:
                parameter.grad.copy_(mean_of(parameter.grad))
        for buffer in self.module.buffers():
            if buffer.is_floating_point():
                buffer.copy_(mean_of(buffer))
        return float(mean_of(torch.tensor(loss, device=self.state.device)))


def check_space(path: Path, module: nn.Module) -> None:
    """InputError where a checkpoint would not fit on the disk beside the one before it."""
    weights = sum(v.numel() * v.element_size() for v in module.state_dict().values())
    needed, free = 8 * weights, shutil.disk_usage(path.parent).free
    if free < needed:
        raise InputError(
            f"{path}: there are {free / 1e9:.2f} GB left on the disk, checkpoints need "
            f"{needed / 1e9:.2f} GB: make room, or name another folder"
        )


@contextmanager
def averaged(module: nn.Module, ema: dict[str, Tensor]) -> Iterator[None]:
    """The module with its averaged weights, not training; afterwards as it was."""
    current = {k: v.detach().clone() for k, v in module.state_dict().items()}
    module.load_state_dict(ema)
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train()
        module.load_state_dict(current)


def append(path: Path, record: dict[str, Any]) -> None:
    """Adds a line of JSON; InputError where the disk is full."""
    try:
        with path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None


def cut_log(path: Path, step: int) -> None:
    """Drops the lines beyond the checkpoint that a killed run had still written."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line + "\n" for line in lines if _step(line) <= step]
        write_bytes(path, "".join(kept).encode(), force=True)


def _step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except ValueError:  # a line cut short by the kill
        return float("inf")


def bar(shown: bool = True) -> Progress:
    """A progress bar on standard error, with the time left."""
    columns = ("{task.description}", BarColumn(), "{task.completed}/{task.total}")
    note = TextColumn("{task.fields[note]}")
    return Progress(
        *columns,
        note,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not shown,
    )
