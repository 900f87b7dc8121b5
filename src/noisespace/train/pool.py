"""The pool: pictures of a data set encoded once, with the scale that makes latents unit-sized."""

from __future__ import annotations

import json
import random
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from noisespace.system.files import write_bytes
from noisespace.train.autoencoder import encode_all
from noisespace.train.dataset import Dataset
from noisespace.train.loop import bar

CHUNK = 500


def make_pool(
    vae: AutoencoderKL, data: Dataset, count: int, seed: int, path: Path
) -> tuple[list, Tensor, float]:
    """(items, latents (count, c, h, w) float16 of unit deviation, scaling factor).

    Latents are kept in ``path``; the items are drawn again, as the seed tells. A file that another
    seed, count or autoencoder made is made anew.
    """
    items = data.draw(random.Random(f"pool {seed}"), count)
    probe = next(iter(vae.state_dict().values())).flatten()[:4].tolist()
    made_by = json.dumps([data.name, seed, count, probe])
    if path.exists():
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            if header.get("made_by") == made_by:
                return items, file.get_tensor("latents"), float(header["scale"])
    parts = []
    with bar() as progress:
        job = progress.add_task("encoding", total=count, note="")
        for start in range(0, count, CHUNK):
            some = data.pictures(items[start : start + CHUNK])
            parts.append(encode_all(vae, some.contiguous(memory_format=torch.channels_last)))
            progress.update(job, advance=len(some))
    latents = torch.cat(parts)
    scale = 1 / float(latents.std())
    latents = (latents * scale).half().contiguous()
    header = {"made_by": made_by, "scale": repr(scale)}
    write_bytes(path, save({"latents": latents}, metadata=header), force=True)
    return items, latents, scale


def pool_scale(path: Path) -> float:
    """The scaling factor that a pool was made with."""
    with safe_open(path, "pt") as file:
        return float((file.metadata() or {})["scale"])
