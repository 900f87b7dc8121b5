"""The fourth stage, for folders: a classifier of real pictures, which judges samples and edits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import ResNetConfig
from transformers.models.resnet.modeling_resnet import ResNetForImageClassification

from noisespace.errors import InputError
from noisespace.train.alignment import shrunk, spoil
from noisespace.train.config import ClassifierStage
from noisespace.train.curve import add_line, draw_shares
from noisespace.train.dataset import WHOLE, Part, step_rng
from noisespace.train.export import put_in_place
from noisespace.train.folder import Folder, View

MOST_VALUES = 1000
UNKNOWN = -100  # torch's number for a label that is not there
NOTHING = (None, "")  # what a table says of an image whose attribute is not known


@dataclass(frozen=True)
class Labels:
    """The values of each attribute, in the order of the classifier's outputs."""

    values: dict[str, tuple[str, ...]]

    def __len__(self) -> int:
        return sum(len(names) for names in self.values.values())

    def split(self, logits: Tensor) -> dict[str, Tensor]:
        """The logits (n, all) of each attribute."""
        parts = logits.split([len(names) for names in self.values.values()], dim=1)
        return dict(zip(self.values, parts, strict=True))

    def numbers(self, attribute: str, values: Sequence[Any]) -> Tensor:
        """Which value each row has; UNKNOWN where it has none, or one that training never saw."""
        order = {name: i for i, name in enumerate(self.values[attribute])}
        return torch.tensor([order.get(str(value), UNKNOWN) for value in values])

    @classmethod
    def of(cls, data: Folder, attributes: Sequence[str]) -> Labels:
        """What the training images have; InputError for a column that is none to learn."""
        found = {}
        for name in attributes:
            rows = [data.about[i].get(name) for i in data.numbers(unseen=False)]
            values = sorted({str(v) for v in rows if v not in NOTHING})
            if not 2 <= len(values) <= MOST_VALUES:
                columns = sorted({key for row in data.about for key in row})
                raise InputError(
                    f"{data.name}: attribute {name!r} has {len(values)} values among the training "
                    f"images, expected 2 to {MOST_VALUES}; its table has the columns "
                    f"{', '.join(columns) or 'none'}"
                )
            found[name] = tuple(values)
        return cls(found)


def build_classifier(config: ClassifierStage, labels: Labels, size: int, seed: int) -> Any:
    """A small ResNetForImageClassification with random weights, all attributes in one layer."""
    torch.manual_seed(seed)
    names = [f"{key}: {value}" for key, values in labels.values.items() for value in values]
    settings: dict[str, Any] = dict(  # noqa: C408 - annotations are too narrow
        num_channels=3,
        embedding_size=config.channels[0],
        hidden_sizes=list(config.channels),
        depths=list(config.depths),
        layer_type="basic",
        image_size=config.size or size,
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
    )
    return ResNetForImageClassification(ResNetConfig(**settings))


@dataclass(frozen=True)
class ClassifierTask:
    """Name each attribute of a real picture, some of them coarse or noisy as samples may be."""

    module: Any  # of build_classifier
    config: ClassifierStage
    data: Folder
    labels: Labels
    seed: int
    name: str = "classifier"

    def loss(self, step: int, part: Part = WHOLE) -> Tensor:
        rng, generator = step_rng(self.seed, self.name, step)
        items = part.of(self.data.draw(rng, self.config.batch))
        x = shrunk(self.data.pictures(items), self.config.size)
        x = spoil(x, self.config.spoiled, rng, generator).to(self.module.device)
        logits, losses = self.module(x).logits, []
        for name, own in self.labels.split(logits).items():
            wanted = self.labels.numbers(name, [self.data.value(item, name) for item in items])
            if (wanted != UNKNOWN).any():
                smooth, wanted = self.config.smooth, wanted.to(own.device)
                losses.append(functional.cross_entropy(own.float(), wanted, label_smoothing=smooth))
        # a part of a batch may have no image whose attributes are known: nothing to learn from it
        return torch.stack(losses).mean() if losses else 0 * logits.float().sum()

    def sheet(self, path: Path, step: int) -> None:
        log = path.with_name("classifier-validation.jsonl")
        judge = Classifier(self.module, self.labels, self.config.size)
        add_line(log, {"step": step, **judge.accuracy(self.data)})
        draw_shares(log, path)


@dataclass(frozen=True)
class Classifier:
    """Names the attributes of pictures."""

    module: Any
    labels: Labels
    size: int | None

    @torch.no_grad()
    def logits(self, pictures: Tensor) -> dict[str, Tensor]:
        """By attribute, (n, values), of pictures (n, 3, h, h) in [-1, 1]."""
        x = shrunk(pictures, self.size).to(self.module.device)
        return self.labels.split(torch.cat([self.module(part).logits for part in x.split(64)]))

    def name(self, pictures: Tensor) -> list[dict[str, str]]:
        """The likeliest value of each attribute, one mapping a picture."""
        found = {key: part.argmax(1).tolist() for key, part in self.logits(pictures).items()}
        return [
            {key: self.labels.values[key][rows[i]] for key, rows in found.items()}
            for i in range(len(pictures))
        ]

    def agreement(self, pictures: Tensor, wanted: Sequence[dict[str, Any]]) -> dict[str, float]:
        """The share of pictures with the wanted value, by attribute, among those that have one."""
        return self.shares(self.name(pictures), wanted)

    def shares(
        self, named: Sequence[dict[str, str]], wanted: Sequence[dict[str, Any]]
    ) -> dict[str, float]:
        """The same of what was named already."""
        shares = {}
        for key in self.labels.values:
            both = zip(named, wanted, strict=True)
            rows = [(a[key], str(b[key])) for a, b in both if b.get(key) not in NOTHING]
            if rows:
                shares[key] = round(sum(a == b for a, b in rows) / len(rows), 4)
        return shares

    def accuracy(self, data: Folder) -> dict[str, float]:
        """The agreement with what is known of all unseen pictures."""
        items = [View(i) for i in data.numbers(unseen=True)]
        named = [row for part in data.parts(items) for row in self.name(part)]
        return self.shares(named, [data.about[v.index] for v in items])


def export_classifier(judge: Classifier, folder: Path) -> None:
    """Writes a classifier as a transformers folder, in float32."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    judge.module.save_pretrained(temporary, safe_serialization=True)
    put_in_place(temporary, folder)


def load_classifier(folder: Path) -> Classifier:
    """What ``export_classifier`` wrote."""
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: holds no classifier (no config.json)")
    module = ResNetForImageClassification.from_pretrained(folder, local_files_only=True)
    module.eval().requires_grad_(False)
    values: dict[str, list[str]] = {}
    named: dict[int, str] = {int(k): v for k, v in (module.config.id2label or {}).items()}
    for index in sorted(named):
        key, _, value = named[index].partition(": ")
        values.setdefault(key, []).append(value)
    size = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("image_size")
    return Classifier(module, Labels({k: tuple(v) for k, v in values.items()}), size)
