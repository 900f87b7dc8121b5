"""The third stage: two small towers whose embeddings of a picture and its caption agree."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from transformers import CLIPTokenizer, ResNetConfig
from transformers.models.vision_text_dual_encoder.configuration_vision_text_dual_encoder import (
    VisionTextDualEncoderConfig,
)
from transformers.models.vision_text_dual_encoder.modeling_vision_text_dual_encoder import (
    VisionTextDualEncoderModel,  # from its own module: the package's import warns of torchvision
)

from noisespace.train.config import AlignmentStage
from noisespace.train.dataset import WHOLE, Dataset, Part, step_rng
from noisespace.train.pictures import save_grid
from noisespace.train.text import build_tokenizer, text_config, tokens

SHARPEST = math.log(100.0)  # of the logits' scale, as in arXiv 2103.00020


def build_alignment(config: AlignmentStage, data: Dataset, seed: int) -> tuple[Any, CLIPTokenizer]:
    """(module of "towers" and "words", tokenizer), with random weights.

    The towers are a VisionTextDualEncoderModel; "words" reads the caption's words off the vision
    tower and is needed for training alone.
    """
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(data.words(), config.text_length)
    # batch norm: a ConvNext of this size still guessed shapes where this one read nine in ten
    settings: dict[str, Any] = dict(  # noqa: C408 - annotations are too narrow
        num_channels=3,
        embedding_size=config.channels[0],
        hidden_sizes=list(config.channels),
        depths=list(config.depths),
        layer_type="basic",
        hidden_size=config.channels[-1],  # what the dual encoder asks of a vision tower
        image_size=config.size or data.size,
    )
    vision = ResNetConfig(**settings)
    whole = VisionTextDualEncoderConfig(
        vision_config=vision.to_dict(),
        text_config=text_config(config, tokenizer).to_dict(),
        projection_dim=config.embedding,
    )
    words = nn.Linear(config.channels[-1], len(tokenizer))
    nn.init.constant_(words.bias, -4.0)  # a caption has few of the words
    return nn.ModuleDict({"towers": VisionTextDualEncoderModel(whole), "words": words}), tokenizer


def contrast(pictures: Tensor, texts: Tensor, scale: Tensor, same: Tensor) -> Tensor:
    """The symmetric contrastive loss (arXiv 2103.00020) of embeddings (n, d) and (n + m, d).

    ``same`` (n, n): which captions are equal; a picture belongs to all captions equal to its own.
    The last m texts belong to no picture (as in NegCLIP, arXiv 2210.01936): without them a batch
    can be told apart by colours alone, and shapes are never learned. Never in half the width:
    logits reach 100, and are told apart by less than their last bit would say.
    """
    with torch.autocast(pictures.device.type, enabled=False):
        pictures, texts = (functional.normalize(v.float(), dim=1) for v in (pictures, texts))
        logits = scale.clamp(max=SHARPEST).exp() * pictures @ texts.T
        n = len(pictures)
        wanted = same / same.sum(1, keepdim=True)
        by_picture = functional.pad(wanted, (0, len(texts) - n))
        forth = functional.cross_entropy(logits, by_picture)
        return (forth + functional.cross_entropy(logits[:, :n].T, wanted)) / 2


def shrunk(x: Tensor, size: int | None) -> Tensor:
    """Pictures (n, 3, h, h) at that size, as they are without one."""
    if size in (None, x.shape[-1]):
        return x
    return functional.interpolate(x, size=(size, size), mode="bicubic", antialias=True)


def spoil(x: Tensor, share: float, rng: random.Random, generator: Generator) -> Tensor:
    """Some of the pictures coarser and noisier, as predictions of a clean picture are early on."""
    n, size = len(x), x.shape[-1]
    small = functional.interpolate(x, size=size // rng.choice((2, 4)), mode="area")
    coarse = functional.interpolate(small, size=size, mode="bicubic", align_corners=False)
    noise = torch.randn(x.shape, generator=generator)
    depth = 0.3 * torch.rand(n, 1, 1, 1, generator=generator)
    draw = torch.rand(2, n, 1, 1, 1, generator=generator) < share
    x = torch.where(draw[0], coarse, x)
    return torch.where(draw[1], x + depth * noise, x)


@dataclass(frozen=True)
class AlignmentTask:
    """Tell each picture's caption from the others of the batch, and the other way round.

    And which words the caption has (cf. arXiv 2404.15653): the contrast alone is soon content with
    what tells a batch apart, colours, and takes long to look at shapes.
    """

    module: Any  # of build_alignment
    config: AlignmentStage
    data: Dataset
    tokenizer: CLIPTokenizer
    seed: int
    name: str = "alignment"

    def texts(self, captions: Sequence[str]) -> Tensor:
        towers = self.module["towers"]
        ids = tokens(self.tokenizer, captions).to(self.device)
        return towers.text_projection(towers.text_model(input_ids=ids).pooler_output)

    def seen(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The embeddings of pictures, and the logits of each word."""
        towers = self.module["towers"]
        pooled = towers.vision_model(pixel_values=x).pooler_output.flatten(1)
        return towers.visual_projection(pooled), self.module["words"](pooled)

    def spelled(self, captions: Sequence[str], size: int) -> Tensor:
        """Which words each caption has, (n, size) of 0 and 1."""
        ids = tokens(self.tokenizer, captions)
        return torch.zeros(len(captions), size).scatter_(1, ids, 1.0).to(self.device)

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    def pictures(self, items: list) -> Tensor:
        """What the vision tower takes of the items."""
        return shrunk(self.data.pictures(items), self.config.size)

    def loss(self, step: int, part: Part = WHOLE) -> Tensor:
        rng, generator = step_rng(self.seed, self.name, step)
        items = part.of(self.data.draw(rng, self.config.batch))
        captions = [self.data.caption(item, rng) for item in items]
        x = spoil(self.pictures(items), self.config.spoiled, rng, generator).to(self.device)
        same = torch.tensor([[float(a == b) for b in captions] for a in captions])
        same = same.to(self.device)
        wrong = [self.data.wrong_caption(item, rng) for item in items]
        texts = self.texts([*captions, *(w for w in wrong if w and w not in captions)])
        pictures, words = self.seen(x)
        loss = contrast(pictures, texts, self.module["towers"].logit_scale, same)
        told = self.spelled(captions, words.shape[1])
        missed = functional.binary_cross_entropy_with_logits(words.float(), told, reduction="sum")
        return loss + self.config.words * missed / len(captions)

    @torch.no_grad()
    def sheet(self, path: Path, step: int) -> None:
        """Unseen pictures, and under each the one whose caption is nearest to it."""
        rng, _ = step_rng(self.seed, "sheet")
        items = self.data.draw(rng, 40, unseen=True)
        x = self.pictures(items).to(self.device)
        texts = functional.normalize(self.texts([self.data.caption(i, rng) for i in items]), dim=1)
        nearest = (functional.normalize(self.seen(x)[0], dim=1) @ texts.T).argmax(1)
        save_grid(torch.cat([x[:10], x[nearest[:10]]]), path, columns=10)
