"""The settings of a training run: one file or name, checked before anything starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from noisespace.errors import InputError


class Stage(BaseModel):
    """What every stage's loop needs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(gt=0)
    batch: int = Field(gt=0)
    rate: float = Field(gt=0)  # AdamW learning rate after the warm-up
    warmup: int = Field(100, ge=0)  # steps
    decay: float = Field(0.2, ge=0, le=1)  # share of the steps over which the rate falls to zero
    ema: float = Field(0.995, ge=0, lt=1)
    save_every: float = Field(90.0, gt=0)  # seconds: what a kill can lose
    sheet_every: float = Field(300.0, gt=0)  # seconds between sample sheets


class AutoencoderStage(Stage):
    """An AutoencoderKL: mean squared error, and a little KL so that latents are smooth."""

    steps: int = Field(3000, gt=0)
    batch: int = Field(12, gt=0)
    rate: float = Field(2e-3, gt=0)
    channels: tuple[int, ...] = (24, 48, 64)
    latent_channels: int = 4
    kl: float = 1e-4


class DiffusionStage(Stage):
    """A UNet2DConditionModel and a CLIPTextModel, trained together on encoded pictures."""

    steps: int = Field(10_400, gt=0)
    batch: int = Field(64, gt=0)
    rate: float = Field(1e-3, gt=0)
    ema: float = 0.998
    warmup: int = 200
    pool: int = 80_000  # pictures encoded once
    channels: tuple[int, ...] = (64, 96, 128)
    attention: tuple[bool, ...] = (False, True, True)  # cross-attention by resolution
    heads: tuple[int, ...] = (2, 4, 4)
    layers: int = 1
    text_hidden: int = 128
    text_layers: int = 2
    text_length: int = 32  # tokens
    dropout: float = 0.1  # of the caption, so that guidance works
    snr_gamma: float = 5.0  # min-SNR weighting, arXiv 2303.09556


class AlignmentStage(Stage):
    """Two towers, a ResNet and a CLIPTextModel, that bring pictures and captions together."""

    steps: int = Field(2400, gt=0)
    batch: int = Field(96, gt=1)
    rate: float = Field(1e-3, gt=0)
    channels: tuple[int, ...] = (48, 96, 192)
    depths: tuple[int, ...] = (1, 1, 1)
    text_hidden: int = 128
    text_layers: int = 2
    text_length: int = 32  # tokens
    embedding: int = 64  # of a picture and of a caption
    spoiled: float = Field(0.3, ge=0, le=1)  # share of blurred, and of noisy, pictures
    words: float = Field(0.2, ge=0)  # weight of reading the caption's words off the picture


class Config(BaseModel):
    """A whole run; ``data`` names the data set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str = "scenes"
    seed: int = 0
    evaluate: int = Field(300, ge=1)  # pictures behind each figure at the end
    autoencoder: AutoencoderStage = AutoencoderStage.model_validate({})
    diffusion: DiffusionStage = DiffusionStage.model_validate({})
    alignment: AlignmentStage = AlignmentStage.model_validate({})

    @property
    def command(self) -> str:
        """The command that trains with these settings."""
        plain, given = (
            Config.model_validate({}).model_dump(mode="json"),
            self.model_dump(mode="json"),
        )
        words = [f"--set {k}={given[k]}" for k in ("seed", "evaluate") if given[k] != plain[k]]
        for stage in ("autoencoder", "diffusion", "alignment"):
            for field, value in given[stage].items():
                if value != plain[stage][field]:
                    words.append(f"--set {stage}__{field}={json.dumps(value)}")
        return " ".join([f"noisespace train {self.data}", *words])


def load_config(source: str | Path, **overrides: Any) -> Config:
    """A data set's name, or a JSON file of settings; overrides as ``diffusion__steps=100``.

    Raises InputError in one sentence for an unknown name, field or value.
    """
    name = str(source)
    values: dict[str, Any] = {"data": name}
    if name != "scenes":
        try:
            values = json.loads(Path(source).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f'got config {name!r}, expected "scenes" or a JSON file of settings '
                f"({getattr(error, 'strerror', None) or error})"
            ) from None
    for key, value in overrides.items():
        if value is None:
            continue
        stage, _, field = key.rpartition("__")
        (values.setdefault(stage, {}) if stage else values)[field] = value
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{name}: {where}: {first['msg']}, got {first['input']!r}") from None
