"""The training loop of every stage: rate, average, checkpoints, log, curve, progress with ETA.

Several processes (``accelerate launch -m noisespace.cli train ...``) and the parts of a batch each
take their rows of the same batch, so that neither changes what a step learns.
"""

from __future__ import annotations

import json
import math
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Protocol

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from noisespace.errors import InputError, RunError
from noisespace.train.checkpoint import load_checkpoint, save_checkpoint
from noisespace.train.config import Config, Stage
from noisespace.train.curve import draw_curve
from noisespace.train.dataset import Part

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
        self.state: Any = PartialState()
        parts = self.stage.accumulate * self.state.num_processes
        if self.stage.batch % parts:
            raise InputError(
                f"{task.name}: batch {self.stage.batch} does not split into {parts} equal parts "
                f"({self.state.num_processes} processes, accumulate {self.stage.accumulate})"
            )
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
            self.scaler.load_state_dict(self.header.get("scaler", {}))
            if self.state.is_main_process:
                cut_log(self.log_path, self.header["step"])

    @property
    def log_path(self) -> Path:
        return self.out / f"{self.task.name}.jsonl"

    def train(self) -> None:
        """All steps that are left."""
        began = saved = shown = time.monotonic()
        before, mean = self.header["seconds"], self.header["loss"]
        main = self.state.is_main_process
        with (
            bar(main) as progress,
            self.log_path.open("a", encoding="utf-8") as log,
            stopping() as stop,
        ):
            job = progress.add_task(
                self.task.name, total=self.stage.steps, completed=self.header["step"], note=""
            )
            for step in range(self.header["step"], self.stage.steps):
                value = self.update(step)
                mean = value if step == 0 else mean + (value - mean) / min(step + 1, 50)
                progress.update(job, advance=1, note=f"loss {mean:.4f}")
                now = time.monotonic()
                self.header = {
                    "step": step + 1,
                    "samples": (step + 1) * self.stage.batch,
                    "seconds": before + now - began,
                    "loss": mean,
                }
                if not main:
                    continue
                last = step + 1 == self.stage.steps or stop.is_set()
                if last or (step + 1) % LOG_EVERY == 0:
                    log.write(json.dumps(self.header) + "\n")
                    log.flush()
                if last or now - saved > self.stage.save_every:
                    saved = now
                    self.save()
                if stop.is_set():
                    raise KeyboardInterrupt
                if last or now - shown > self.stage.sheet_every:
                    shown = now
                    with averaged(self.module, self.ema):
                        self.task.sheet(self.out / f"{self.task.name}-sheet.png", step + 1)
        self.state.wait_for_everyone()

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


def mean_of(tensor: Tensor) -> Tensor:
    """The mean of a tensor over all processes."""
    shared: Any = reduce(tensor, "mean")
    return shared


@contextmanager
def stopping() -> Iterator[Event]:
    """An event that Ctrl-C or a SIGTERM sets, so that a run ends after a step, not inside of one.

    A second one ends it at once. Outside the main thread, which alone gets them, it is never set.
    """
    asked = Event()

    def ask(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    signals = (signal.SIGINT, signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread():
        signals = ()
    before = {number: signal.signal(number, ask) for number in signals}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
