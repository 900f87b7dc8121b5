"""Batches that fit: work is cut into parts that memory holds, and halved where it runs out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from noisespace.core.backbone import Denoiser
from noisespace.core.condition import Condition
from noisespace.core.controls import HookContext
from noisespace.core.grid import Level
from noisespace.core.prediction import Prediction
from noisespace.errors import RunError

# Latent positions an evaluation on a CPU: 128 rows of a 16x16 latent, 8 of a 64x64 one, for which
# Stable Diffusion 1.5 needs a tenth of its weights' memory (.01 MB a position). benchmarks/rows.py
# measures the rate by rows. A constant, so that the same job gives the same bytes.
CPU_POSITIONS = 128 * 16 * 16
# of activations a latent position in a Stable Diffusion U-Net, with room for attention maps
POSITION_BYTES = 100_000
MOST = 256  # rows an evaluation, however small they are
WORDS = ("out of memory", "can't allocate memory")  # MPS and the CPU raise a plain RuntimeError


@dataclass
class BatchLimit:
    """How many rows go through at once: what one loop has learnt so far."""

    size: int

    def halve(self) -> None:
        """Half of it, after memory ran out. Raises RunError where one row is too much."""
        if self.size == 1:
            raise RunError("out of memory with one state: use a smaller size") from None
        self.size //= 2


def in_batches(work: Callable[[Tensor], None], count: int, limit: BatchLimit | int) -> None:
    """Calls ``work`` on rows 0..count-1, as many at a time as the limit says; halved as needed."""
    limit = BatchLimit(limit) if isinstance(limit, int) else limit
    limit.size = max(1, min(limit.size, count))  # halves of what there is
    start = 0
    while start < count:
        rows = torch.arange(start, min(start + limit.size, count))
        try:
            work(rows)
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, RunError) or not is_out_of_memory(error):
                raise  # a RunError: one row was too much already
            limit.halve()
        else:
            start += len(rows)
            continue
        release_memory()  # after the error, which holds on to the batch


def release_memory() -> None:
    """Gives back to a GPU what its allocator holds unused, before a smaller try."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_lost(device: torch.device) -> bool:
    """Whether a GPU takes no more work from this process, as after an illegal access of memory."""
    if device.type != "cuda":
        return False
    try:
        torch.zeros(1, device=device).add_(1)
        torch.cuda.synchronize(device)
    except RuntimeError as error:
        return not is_out_of_memory(error)
    return False


def in_parts(work: Callable[[Tensor], Tensor], x: Tensor, limit: BatchLimit | int) -> Tensor:
    """``work`` of x, computed some rows at a time."""
    done: list[Tensor] = []
    in_batches(lambda rows: done.append(work(x[rows.to(x.device)])), len(x), limit)
    return torch.cat(done)


def batch_rows(like: Tensor, cost: int) -> int:
    """How many rows of shape ``like.shape[2:]`` to evaluate at once, each ``cost`` times.

    On a GPU a power of two: the last digits depend on the batch, which a little more or less of
    free memory shall not change.
    """
    positions = math.prod(like.shape[2:])
    if like.device.type != "cuda":
        return max(1, min(MOST, CPU_POSITIONS // positions) // cost)
    most = min(MOST, free_cuda(like.device) // POSITION_BYTES // positions) // cost
    return 1 << max(0, most.bit_length() - 1)


def free_cuda(device: torch.device) -> int:
    """The bytes that a GPU can still give: what is free, and what the allocator holds unused.

    Without the second every inversion of a process would find less room than the one before.
    """
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def with_batching(denoise: Denoiser) -> Denoiser:
    """A denoiser that takes any number of rows and evaluates as many at once as memory holds.

    Rows do not see each other, so that the result is that of one batch, to rounding. What is learnt
    of memory stays for the loop that this denoiser serves. Under ``hooks`` the batch stays
    whole, since controls see all rows of an image at once.
    """
    learnt: list[BatchLimit] = []

    def denoise_batched(
        x: Tensor, level: Level, condition: Condition, hooks: HookContext | None = None
    ) -> Prediction:
        if hooks is not None:
            return evaluate_whole(denoise, x, level, condition, hooks)
        if not learnt:
            learnt.append(BatchLimit(batch_rows(x, 1)))
        done: list[Prediction] = []

        def work(rows: Tensor) -> None:
            if len(rows) == len(x):
                done.append(denoise(x, level, condition))
                return
            part = x[rows.to(x.device)]
            done.append(denoise(part, level.rows(rows), condition.rows(rows)))

        limit = BatchLimit(learnt[0].size)
        in_batches(work, len(x), limit)
        if limit.size < min(learnt[0].size, len(x)):
            learnt[0].size = limit.size
        if len(done) == 1:
            return done[0]
        return Prediction(torch.cat([p.x0 for p in done]), torch.cat([p.eps for p in done]))

    return denoise_batched


def evaluate_whole(
    denoise: Denoiser, x: Tensor, level: Level, condition: Condition, hooks: HookContext
) -> Prediction:
    """An evaluation that cannot be cut; RunError, in words that help, where memory runs out."""
    try:
        return denoise(x, level, condition, hooks)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise RunError(
            f"out of memory with {len(x)} rows under an editor that looks inside the network: use "
            "fewer images or prompts at a time, or a smaller size"
        ) from None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on any device."""
    known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return known or any(words in str(error) for words in WORDS)
