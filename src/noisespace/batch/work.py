"""The work on one group: its images inverted in a batch, edited, written, told in rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from noisespace.api import edit, invert
from noisespace.batch.job import Group, Job, Setting
from noisespace.batch.manifest import Item
from noisespace.batch.places import Shelf, read
from noisespace.batch.records import Row
from noisespace.bench.costs import costing
from noisespace.bench.pictures import own_record
from noisespace.code import Code
from noisespace.decode import unpack
from noisespace.describe import describe
from noisespace.errors import InputError, reason
from noisespace.images import fitted_size
from noisespace.metadata import png_bytes
from noisespace.models.base import Model
from noisespace.specs import parse_editor, parse_mask, parse_method


@dataclass(frozen=True, eq=False)
class Loaded:
    """A row with its pixels, uint8 (H, W, 3), and its painted mask, uint8 (H, W), or None."""

    item: Item
    pixels: np.ndarray
    mask: np.ndarray | None = None


def load(item: Item) -> Loaded | str:
    """A row's pixels, or why it has none."""
    try:
        pixels = unpack(read(item.image), item.image)
        mask = unpack(read(item.mask), item.mask) if item.painted else None
    except Exception as error:  # whatever it is, it is this row's alone
        return reason(error)
    grey = None if mask is None else np.asarray(Image.fromarray(mask).convert("L"))
    return Loaded(item, pixels, grey)


def load_group(group: Group) -> list[Loaded | str]:
    """The pixels of all rows of a group."""
    return [load(item) for item in group.items]


@dataclass(frozen=True)
class Work:
    """A model that stays, and where its pictures go."""

    model: Model
    job: Job
    shelf: Shelf

    def rows(self, group: Group, loaded: Sequence[Loaded | str]) -> list[Row]:
        """The rows of a group, in its order; pictures are written before they are told of.

        Raises InputError where something cannot be written: that ends a job, it is no row's fault.
        """
        found: dict[str, Row] = {}
        sizes: dict[Any, list[Loaded]] = {}
        for item, one in zip(group.items, loaded, strict=True):
            try:
                size = self.size(one) if isinstance(one, Loaded) else one
            except InputError as error:
                size = str(error)
            if isinstance(one, str) or isinstance(size, str):
                found[item.id] = failed(item, group.setting, self.job, str(size))
            else:
                sizes.setdefault(size, []).append(one)
        for batch in sizes.values():  # of one working size each
            found |= {row.id: row for row in self.batch(group.setting, batch)}
        return [found[item.id] for item in group.items]

    def size(self, one: Loaded) -> tuple[int, int]:
        own, model = one.pixels.shape[:2], self.model
        return fitted_size(own, self.job.size, target=model.resolution, multiple=model.multiple)

    def batch(self, setting: Setting, batch: Sequence[Loaded]) -> Iterator[Row]:
        """The rows of a batch: halved where memory is short, taken apart where it fails.

        A row says how many images it ran with: halved batches round differently.
        """
        try:
            made, cost = costing(self.model, lambda model: self.edited(model, setting, batch))
        except Exception as error:
            if len(batch) == 1:
                yield failed(batch[0].item, setting, self.job, reason(error))
                return
            if self.model.device.type == "cuda":
                torch.cuda.empty_cache()
            half = len(batch) // 2 if out_of_memory(error) else 1
            for start in range(0, len(batch), half):
                yield from self.batch(setting, batch[start : start + half])
            return
        shares = (cost.seconds / len(batch), cost.evaluations / len(batch))
        yield from self.written(setting, batch, made, shares)

    def edited(self, model: Any, setting: Setting, batch: Sequence[Loaded]) -> tuple[Code, Any]:
        """The code and the edits of a batch; every image has its own seed."""
        seeds = [one.item.seeded(self.job.seed) for one in batch]
        code = invert(
            model,
            [one.pixels for one in batch],
            [one.item.source for one in batch],
            parse_method(setting.method),
            steps=setting.steps,
            guidance=setting.source_guidance,
            seed=seeds,
            size=self.job.size,
        )
        result = edit(
            model,
            code,
            [list(one.item.target) for one in batch],
            guidance=setting.guidance,
            editor=parse_editor(setting.editor) if setting.editor else None,
            mask=self.mask(setting, batch),
            seed=seeds,
        )
        return code, result

    def mask(self, setting: Setting, batch: Sequence[Loaded]) -> Any:
        """Painted masks, one an image, or what finds them, or None."""
        if setting.mask == "*":
            return [one.mask for one in batch]
        return parse_mask(setting.mask) if setting.mask else None

    def written(
        self,
        setting: Setting,
        batch: Sequence[Loaded],
        made: tuple[Code, Any],
        shares: tuple[float, float],
    ) -> Iterator[Row]:
        """Writes the pictures of a batch, and its codes, and tells of them."""
        code, result = made
        seconds, evaluations = shares
        for index, one in enumerate(batch):
            places, psnrs = [], []
            for target in range(setting.targets):
                number = index * setting.targets + target
                record = own_record(result.record_of(number), index, one.mask)
                picture = np.asarray(result.images[number])
                places.append(self.keep("pictures", png_bytes(picture, record), "png"))
                psnrs.append(psnr(picture, one.pixels))
            row = told(one.item, setting, self.job)
            yield replace(
                row,
                pictures=tuple(places),
                code=self.keep_code(code, index) if self.job.codes else "",
                method=code.method,
                editor=describe(parse_editor(setting.editor)) if setting.editor else "",
                steps=code.steps,
                guidance=result.record["guidance"],
                source_guidance=code.guidance,
                batch=len(batch),
                psnr=tuple(psnrs),
                evaluations=evaluations,
                seconds=seconds,
            )

    def keep_code(self, code: Code, index: int) -> str:
        """One image's own code, written."""
        return self.keep("codes", code.of_image(index).to_bytes(), "safetensors")

    def keep(self, folder: str, data: bytes, ending: str) -> str:
        """Writes bytes under a name that is their hash: written twice they are there once."""
        name = hashlib.sha256(data).hexdigest()
        place = f"{folder}/{name[:2]}/{name}.{ending}"
        self.shelf.write(place, data)
        return place


def out_of_memory(error: BaseException) -> bool:
    """Whether it is memory that was short."""
    short = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return short or "out of memory" in str(error).lower()


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """PSNR of two uint8 pictures in dB, 100 where they are equal."""
    mse = float(((a.astype(np.float64) - b) ** 2).mean())
    return 100.0 if mse == 0 else round(10 * float(np.log10(255**2 / mse)), 3)


def told(item: Item, setting: Setting, job: Job) -> Row:
    """What is known of a row before anything runs."""
    return Row(
        id=item.id,
        image=item.image,
        source=item.source,
        targets=item.target,
        method=setting.method,
        editor=setting.editor,
        mask=item.mask,
        steps=setting.steps,
        guidance=setting.guidance,
        source_guidance=setting.source_guidance,
        seed=item.seeded(job.seed),
    )


def failed(item: Item, setting: Setting, job: Job, why: str) -> Row:
    """A dead letter."""
    return replace(told(item, setting, job), status="failed", reason=why)
