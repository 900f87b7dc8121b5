"""The settings of a training run: one file or name, checked before anything starts."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from noisespace.errors import InputError
from noisespace.train.shapes import check_channels, check_heads, check_lengths, check_text

CONFIGS = Path(__file__).parent / "configs"
STAGES = ("autoencoder", "diffusion", "alignment", "classifier")


class Stage(BaseModel):
    """What every stage's loop needs."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    steps: int = Field(gt=0)
    batch: int = Field(gt=0)
    accumulate: int = Field(1, gt=0)  # parts that a batch is taken in, one after the other
    rate: float = Field(gt=0)  # AdamW learning rate after the warm-up
    warmup: int = Field(100, ge=0)  # steps
    decay: float = Field(0.2, ge=0, le=1)  # share of the steps over which the rate falls to zero
    fall: Literal["linear", "cosine"] = "linear"  # how it falls; decay 1 and cosine: all the way
    ema: float = Field(0.995, ge=0, lt=1)
    save_every: float = Field(90.0, gt=0)  # seconds: what a kill can lose
    sheet_every: float = Field(300.0, gt=0)  # seconds between sample sheets


class AutoencoderStage(Stage):
    """An AutoencoderKL: mean squared error, and a little KL so that latents are smooth.

    It halves a side once for each of its ``channels`` but the last.
    """

    steps: int = Field(3000, gt=0)
    batch: int = Field(12, gt=0)
    rate: float = Field(2e-3, gt=0)
    channels: tuple[int, ...] = (24, 48, 64)
    latent_channels: int = Field(4, gt=0)
    kl: float = Field(1e-4, ge=0)
    crop: int | None = Field(None, gt=0)  # pixels of the windows trained on; None: whole pictures
    coarse: float = Field(0.0, ge=0, le=1)  # share of the steps that decode shrunken latents

    @model_validator(mode="after")
    def _networks_can_be_built(self) -> AutoencoderStage:
        check_channels(self.channels, 8)
        return self

    @property
    def factor(self) -> int:
        """Pixels a side for each latent."""
        return 2 ** (len(self.channels) - 1)


class DiffusionStage(Stage):
    """A UNet2DConditionModel and a CLIPTextModel, trained together on encoded pictures."""

    steps: int = Field(10_400, gt=0)
    batch: int = Field(64, gt=0)
    rate: float = Field(1e-3, gt=0)
    ema: float = 0.998
    warmup: int = 200
    pool: int = Field(80_000, gt=0)  # pictures encoded once
    channels: tuple[int, ...] = (64, 96, 128)
    attention: tuple[bool, ...] = (False, True, True)  # cross-attention by resolution
    heads: tuple[int, ...] = (2, 4, 4)
    layers: int = Field(1, gt=0)
    text_hidden: int = 128
    text_layers: int = Field(2, gt=0)
    text_length: int = Field(32, gt=2)  # tokens
    dropout: float = Field(0.1, ge=0, le=1)  # of the caption, so that guidance works
    snr_gamma: float = Field(5.0, gt=0)  # min-SNR weighting, arXiv 2303.09556
    debias: float = Field(0.0, ge=0, le=1)  # times SNR ** -debias; 0.5: arXiv 2310.08442

    @model_validator(mode="after")
    def _networks_can_be_built(self) -> DiffusionStage:
        check_channels(self.channels, 16)
        check_lengths(self.channels, attention=self.attention, heads=self.heads)
        check_heads(self.channels, self.heads)
        check_text(self.text_hidden)
        return self


class AlignmentStage(Stage):
    """Two towers, a ResNet and a CLIPTextModel, that bring pictures and captions together."""

    steps: int = Field(2400, gt=0)
    batch: int = Field(96, gt=1)
    rate: float = Field(1e-3, gt=0)
    channels: tuple[int, ...] = (48, 96, 192)
    depths: tuple[int, ...] = (1, 1, 1)
    text_hidden: int = 128
    text_layers: int = Field(2, gt=0)
    text_length: int = Field(32, gt=2)  # tokens
    embedding: int = Field(64, gt=0)  # of a picture and of a caption
    size: int | None = Field(None, ge=8)  # pixels that the vision tower takes; None: the data's
    spoiled: float = Field(0.3, ge=0, le=1)  # share of blurred, and of noisy, pictures
    words: float = Field(0.2, ge=0)  # weight of reading the caption's words off the picture

    @model_validator(mode="after")
    def _networks_can_be_built(self) -> AlignmentStage:
        check_channels(self.channels)
        check_lengths(self.channels, depths=self.depths)
        check_text(self.text_hidden)
        return self


class ClassifierStage(Stage):
    """A ResNet that names what columns of the captions' table say: it judges samples and edits."""

    steps: int = Field(2000, gt=0)
    batch: int = Field(64, gt=0)
    rate: float = Field(1e-3, gt=0)
    decay: float = Field(1.0, ge=0, le=1)
    fall: Literal["linear", "cosine"] = "cosine"
    channels: tuple[int, ...] = (32, 64, 128, 256)
    depths: tuple[int, ...] = (1, 1, 1, 1)
    size: int | None = Field(None, ge=8)  # pixels that it takes; None: the data's
    spoiled: float = Field(0.3, ge=0, le=1)  # share of blurred, and of noisy, pictures
    smooth: float = Field(0.1, ge=0, lt=1)  # label smoothing

    @model_validator(mode="after")
    def _network_can_be_built(self) -> ClassifierStage:
        check_channels(self.channels)
        check_lengths(self.channels, depths=self.depths)
        return self


class Config(BaseModel):
    """A whole run; ``data`` is "scenes" or a folder of captioned images."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    preset: str = "scenes"  # the settings that these began as
    data: str = "scenes"
    size: int = Field(64, ge=8)  # pixels a side
    mirror: bool = True  # pictures of a folder, half of the time
    seed: int = Field(0, ge=-(2**63), lt=2**63)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"  # of the networks' products
    evaluate: int = Field(300, ge=1)  # pictures behind each figure at the end
    attributes: tuple[str, ...] = ()  # columns of a folder's table that a classifier learns
    autoencoder: AutoencoderStage = AutoencoderStage.model_validate({})
    diffusion: DiffusionStage = DiffusionStage.model_validate({})
    alignment: AlignmentStage = AlignmentStage.model_validate({})
    classifier: ClassifierStage = ClassifierStage.model_validate({})

    @model_validator(mode="after")
    def _sizes_fit(self) -> Config:
        multiple = self.autoencoder.factor * 2 ** (len(self.diffusion.channels) - 1)
        if self.size % multiple:
            raise ValueError(
                f"size must be a multiple of {multiple}, by which autoencoder and U-Net shrink it"
            )
        crop = self.autoencoder.crop
        if crop is not None and (crop > self.size or crop % self.autoencoder.factor):
            raise ValueError(
                f"autoencoder crop must be a multiple of {self.autoencoder.factor} of at most "
                f"{self.size}"
            )
        if self.autoencoder.coarse and (crop or self.size) // self.autoencoder.factor % 2:
            raise ValueError(
                f"autoencoder coarse halves latents, so {'size' if crop is None else 'crop'} must "
                f"be a multiple of {2 * self.autoencoder.factor}"
            )
        return self

    def of_stage(self, stage: str) -> dict[str, Any]:
        """All that decides what a stage learns, flat: how long it goes on is left out.

        The second stage learns what the whole of the first made, its number of steps too.
        """
        free = {"steps", "save_every", "sheet_every", "accumulate"}
        all_, shared = self.model_dump(mode="json"), ["data", "size", "mirror", "seed", "precision"]
        if stage == "classifier":
            shared.append("attributes")
        found = {k: all_[k] for k in shared}
        found |= {f"{stage}__{k}": v for k, v in all_[stage].items() if k not in free}
        if stage == "diffusion":
            of_first = all_["autoencoder"].items()
            found |= {f"autoencoder__{k}": v for k, v in of_first if k not in free - {"steps"}}
        return found

    @property
    def name(self) -> str:
        """What the model is called where it is none of the embedded ones: as its folder."""
        return Path(self.data).resolve().name or "model"

    @property
    def command(self) -> str:
        """The command that trains with these settings, for a shell; a folder is not named."""
        plain, given = preset(self.preset).model_dump(mode="json"), self.model_dump(mode="json")
        own = ("size", "mirror", "seed", "precision", "evaluate", "attributes")
        changed = {k: given[k] for k in own if given[k] != plain[k]}
        for stage in STAGES:
            some = given[stage].items()
            changed |= {f"{stage}__{k}": v for k, v in some if v != plain[stage][k]}
        said = {k: json.dumps(v, separators=(",", ":")) for k, v in changed.items()}
        words = [f"--set {shlex.quote(f'{k}={v}')}" for k, v in said.items()]
        data = [] if self.data == "scenes" else ["--data FOLDER"]
        return " ".join([f"noisespace train {self.preset}", *data, *words])


def presets() -> dict[str, Path]:
    """The settings that come with the package, by name."""
    return {path.stem: path for path in sorted(CONFIGS.glob("*.json"))}


def preset(name: str) -> Config:
    """The settings of that name as they come with the package."""
    values = read_settings(presets()[name]) if name in presets() else {}
    return Config.model_validate({**values, "preset": name})


def read_settings(path: Path) -> dict[str, Any]:
    """A JSON file of settings; InputError when it is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"got config {str(path)!r}, expected one of {', '.join(presets())} or a JSON file of "
            f"settings ({getattr(error, 'strerror', None) or error})"
        ) from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds no JSON object of settings")
    return values


PLAIN = {  # what pydantic says in its own words
    "extra_forbidden": "there is no such setting",
    "tuple_type": 'expected a list, such as ["kind", "colour"]',
}


def load_config(source: str | Path, data: str | Path | None = None, **overrides: Any) -> Config:
    """A preset's name, or a JSON file of settings; overrides as ``diffusion__steps=100``.

    A file may begin as a preset: ``{"preset": "night", "diffusion": {"steps": 100}}``. ``data``
    takes the place of the data set that the settings name.
    Raises InputError in one sentence for an unknown name, field or value.
    """
    name = str(source)
    values: dict[str, Any] = {"preset": name}
    if name not in presets():
        values = read_settings(Path(source))
    base = values.setdefault("preset", "scenes")
    if not isinstance(base, str) or base not in presets():
        raise InputError(f"{name}: preset is {base!r}, expected one of {', '.join(presets())}")
    values = merged(read_settings(presets()[base]), values)
    if data is not None:
        values["data"] = str(data)
    if values.get("data") == "":
        raise InputError(f"{name}: needs a folder of captioned images; name it with --data FOLDER")
    for key, value in overrides.items():
        stage, _, field = key.rpartition("__")
        if key == "preset":
            raise InputError(f"{name}: got preset={value!r}; name the preset in place of {name}")
        place = values.setdefault(stage, {}) if stage else values
        if not isinstance(place, dict):
            raise InputError(f"{name}: {stage} is {place!r}, expected an object of settings")
        place[field] = value
    if isinstance(folder := values.get("data"), str) and folder != "scenes":
        # one name, however it was written: a run that goes on compares it
        values["data"] = str(Path(folder).resolve())
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        own = first["type"] == "value_error"  # a sentence of ours, about several values
        got = "" if own else f", got {first['input']!r}"
        where = f"{where}: " if where else ""
        told = PLAIN.get(first["type"], first["msg"].removeprefix("Value error, "))
        raise InputError(f"{name}: {where}{told}{got}") from None


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """One mapping laid over another, the mappings inside them too."""
    both = dict(base)
    for key, value in over.items():
        old = both.get(key)
        both[key] = (
            merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return both
