"""How much memory a model and its work take, against what is free, and what would make it fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch

from noisespace.core.batching import batch_rows, free_cuda
from noisespace.models.families import NETWORKS
from noisespace.models.pipeline_folder import PLAIN, check_folder, variant
from noisespace.models.weight_file import header_of

# Tensors as wide as the first layer of a network, or of a decoder, that are alive at once where it
# holds most: 26 in Stable Diffusion 1.5, 16 in XL, 23 in 3, 20 in Flux; 6 in every decoder
# (tests/test_memory.py counts them)
EVALUATED, DECODED = 27, 6
UNET, VAE, ENCODER = "model.diffusion_model.", "first_stage_model.", "text_encoder"


class Work(NamedTuple):
    """Bytes beside the weights: of rows evaluated at once, of a picture or a tile decoded."""

    evaluation: float = 0
    picture: float = 0
    tile: float = 0


@dataclass(frozen=True)
class Memory:
    """What a model takes on a device: bytes of its parts' weights, and what was free before them.

    ``offload`` and ``tiling`` as in ``load``; ``itemsize`` of a weight, in bytes.
    """

    weights: Mapping[str, float]
    itemsize: int
    place: torch.device
    free: float
    offload: str | None = None
    tiling: bool = False

    def needed(self, work: Work = Work()) -> float:
        """Bytes at the worst moment, to a third or so: what kernels borrow is not known."""
        network = sum(size for part, size in self.weights.items() if part in NETWORKS)
        others = [size for part, size in self.weights.items() if part not in NETWORKS]
        visiting = max(others, default=0)  # one part at a time
        resting = {"parts": network + visiting, "layers": visiting}
        busy = max(work.evaluation, work.tile if self.tiling else work.picture)
        return resting.get(self.offload or "", network + sum(others)) + busy

    def remedy(self, work: Work = Work()) -> str:
        """The first option that makes it fit, with what it takes then; or what else helps."""
        half = replace(self, weights={k: v / 2 for k, v in self.weights.items()}, itemsize=2)
        halved = work._replace(evaluation=work.evaluation / 2, picture=work.picture / 2)
        on_cpu = self.place.type == "cpu"
        ways = {
            "tiling": (replace(self, tiling=True), work),
            "dtype bfloat16": (half, halved) if self.itemsize > 2 else None,
            "offload parts": None if on_cpu else (replace(self, offload="parts"), work),
            "offload layers": None if on_cpu else (replace(self, offload="layers"), work),
            "offload layers with tiling": None
            if on_cpu
            else (replace(self, offload="layers", tiling=True), work),
        }
        for name, way in ways.items():
            if way is not None and (needed := way[0].needed(way[1])) <= self.free:
                return f"{name} makes it {written(needed)}"
        return "no option makes it fit: use a smaller size, fewer pictures or a smaller model"

    def sentence(self, work: Work = Work()) -> str:
        """What is needed and what is free; where it does not fit, what would make it fit."""
        needed, weights = self.needed(work), written(self.needed())
        text = f"about {written(needed)}, {weights} of them weights; " if any(work) else weights
        text += "" if any(work) else " of weights; "
        text += f"{written(self.free)} free on {self.place.type}"
        return text if needed <= self.free else f"{text}: {self.remedy(work)}"


def work_of(model: Any, size: tuple[int, int], rows: int) -> Work:
    """Of a latent model, for states of a size (height, width), ``rows`` of them under an editor.

    Where nobody looks inside, a CPU takes as many rows as `batch_rows` says; a GPU what is free.
    """
    positions = prod(size)
    like = torch.empty(1, 1, *size, device="meta")
    rows = max(rows, batch_rows(like, 1)) if model.device.type == "cpu" else rows
    each = width_of(model) * model.compute_dtype.itemsize
    evaluation = rows * positions * each * EVALUATED
    if model.vae is None:
        return Work(evaluation)
    config = model.vae.config
    pixel = DECODED * config.block_out_channels[0] * model.vae.dtype.itemsize
    side = min(config.sample_size // model.factor, max(size))
    area = model.factor**2 * pixel
    return Work(evaluation, positions * area, min(positions, side**2) * area)


def width_of(model: Any) -> float:
    """Features a latent position of a network's first layer."""
    config = model.network.config
    if "block_out_channels" in config:
        return config.block_out_channels[0]
    inner = config.num_attention_heads * config.attention_head_dim
    return inner / model.family.patch(model.network) ** 2


def parameters_of(source: Path) -> dict[str, int]:
    """How many parameters each part of a folder, or of a single file, has; no weight is read.

    Raises InputError for a folder that is no pipeline, and for damaged files.
    """
    if source.is_file():
        counts = {"unet": 0, "vae": 0, ENCODER: 0}
        for key, shape in header_of(source)[0].items():
            part = "unet" if key.startswith(UNET) else "vae" if key.startswith(VAE) else ENCODER
            counts[part] += prod(shape)
        return counts
    parts: dict[str, int] = {}
    for part in check_folder(source):
        wanted = variant(source / part).get("variant")
        for file in (source / part).glob("*.safetensors"):
            found = PLAIN.fullmatch(file.name)
            if found and found["variant"] == wanted:
                counted = sum(map(prod, header_of(file)[0].values()))
                parts[part] = parts.get(part, 0) + counted
    return parts


def written(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"


def free_memory(device: torch.device) -> float:
    """The bytes that a device can still give; inf where it does not say."""
    if device.type == "cuda":
        return free_cuda(device)
    if device.type == "cpu":
        return min(psutil.virtual_memory().available, container_memory())
    if device.type == "mps" and hasattr(torch.mps, "recommended_max_memory"):  # torch 2.5
        room = torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
        return min(room, psutil.virtual_memory().available)  # it is the host's: else it swaps
    return torch.inf


def container_memory(folder: Path = Path("/sys/fs/cgroup")) -> float:
    """What a container's limit (cgroup v2) leaves, in bytes; inf where there is none."""
    try:
        limit = int((folder / "memory.max").read_text())  # or "max"
        used = int((folder / "memory.current").read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return torch.inf
    return limit - used + int(stat.get("inactive_file", 0))  # the cache of files gives way
