"""What a picture shows, in words: the source prompt of those who give none.

The embedded models bring the captions that their pictures can have (captions.json) and an alignment
model that says which is nearest; a BLIP folder or Hub id writes free ones.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from math import prod
from pathlib import Path
from string import Formatter
from typing import Annotated, Any

import torch
from pydantic import BaseModel, Field, ValidationError, model_validator
from torch import Tensor
from torch.nn import functional

from noisespace.errors import InputError
from noisespace.models.judges.alignment import CLIP_MEAN, CLIP_STD, Alignment, alignment_of
from noisespace.models.loading import find, where
from noisespace.models.pipeline_folder import check_part, quietly, read_json
from noisespace.pictures.describe import describe

Captioner = Callable[[Tensor], list[str]]  # pixels (b, 3, h, w) in [-1, 1] -> captions

WRITERS = ("BlipForConditionalGeneration", "VisionEncoderDecoderModel")
EXHAUSTED = 4096  # captions of a pattern that are all looked at; of more, some are climbed among
STARTS = 12
LONGEST = 32  # tokens that a captioner writes


@dataclass(frozen=True)
class Pattern:
    """Captions of one form: a text with {slots}, and the values that each can have."""

    text: str
    slots: Mapping[str, Sequence[str]]

    def __len__(self) -> int:
        return prod(len(values) for values in self.slots.values())

    def say(self, chosen: Sequence[str]) -> str:
        """The caption with one value in each slot."""
        return self.text.format(**dict(zip(self.slots, chosen, strict=True)))

    def best(self, score: Callable[[list[str]], Tensor]) -> tuple[float, str]:
        """The caption of the highest score, and the score.

        Where there are too many to look at all, the best of several climbs that change the value
        of one slot at a time until none is better.
        """
        if len(self) <= EXHAUSTED:
            texts = [self.say(some) for some in product(*self.slots.values())]
            scores = score(texts)
            return float(scores.max()), texts[int(scores.argmax())]
        rng = random.Random(0)
        starts = [[rng.choice(v) for v in self.slots.values()] for _ in range(STARTS)]
        return max(self.climb(start, score) for start in starts)

    def climb(self, chosen: list[str], score: Callable[[list[str]], Tensor]) -> tuple[float, str]:
        found, text = float("-inf"), ""
        while True:
            before = found
            for place, values in enumerate(self.slots.values()):
                texts = [self.say([*chosen[:place], v, *chosen[place + 1 :]]) for v in values]
                scores = score(texts)
                if float(scores.max()) > found:
                    found, which = float(scores.max()), int(scores.argmax())
                    chosen, text = (
                        [*chosen[:place], values[which], *chosen[place + 1 :]],
                        texts[which],
                    )
            if found <= before:
                return found, text


@dataclass(frozen=True)
class Vocabulary:
    """Captions by search: the one of the model's own that its alignment model puts nearest."""

    alignment: Alignment
    texts: tuple[str, ...]
    patterns: tuple[Pattern, ...]
    embedded: dict[str, Tensor] = field(default_factory=dict, compare=False)  # those met so far

    def __repr__(self) -> str:  # what a record says of it
        return f"Vocabulary({self.alignment.name!r})"

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> list[str]:
        return [self.best(picture) for picture in self.alignment.pictures(pixels)]

    def best(self, picture: Tensor) -> str:
        """The nearest caption to one embedded picture (d,)."""

        def score(texts: list[str]) -> Tensor:
            new = [text for text in dict.fromkeys(texts) if text not in self.embedded]
            if new:
                self.embedded.update(zip(new, self.alignment.prompts(new), strict=True))
            return torch.stack([self.embedded[text] for text in texts]).to(picture) @ picture

        found = [pattern.best(score) for pattern in self.patterns]
        if self.texts:
            scores = score(list(self.texts))
            found.append((float(scores.max()), self.texts[int(scores.argmax())]))
        return max(found)[1]


def vocabulary_of(model: Any) -> Vocabulary:
    """The captions that an embedded model knows; InputError, saying what to do, without any."""
    folder = model.alignment_folder
    path = folder.parent / "captions.json" if folder is not None else None
    if path is None or not path.is_file():
        raise InputError(
            f"the model {model.name} brings no captions of its own: give the source prompt, or "
            "name a captioner (the folder or Hub id of a BLIP)"
        )
    try:
        listed = Listed.model_validate(read_json(path)).patterns
    except ValidationError as error:
        raise InputError(
            f"{path}: expected a list of patterns: captions, or [text with {{slots}}, {{slot: "
            f"values}}] ({error.errors()[0]['msg']})"
        ) from None
    texts = tuple(p for p in listed if isinstance(p, str))
    patterns = tuple(Pattern(*p) for p in listed if not isinstance(p, str))
    return Vocabulary(alignment_of("alignment", model), texts, patterns)


class Listed(BaseModel):
    """captions.json, which comes from outside."""

    patterns: list[str | tuple[str, dict[str, Annotated[list[str], Field(min_length=1)]]]] = Field(
        min_length=1
    )

    @model_validator(mode="after")
    def _slots_are_named(self) -> Listed:
        for pattern in self.patterns:
            if not isinstance(pattern, str):
                named = {
                    name for _, name, _, _ in Formatter().parse(pattern[0]) if name is not None
                }
                if named != set(pattern[1]) or not named:
                    raise ValueError(f"{pattern[0]!r} does not name its slots")
        return self


@dataclass(frozen=True)
class Writer:
    """Captions by a network that writes them: BLIP (arXiv 2201.12086), or a ViT with GPT-2."""

    module: Any
    tokenizer: Any
    name: str
    size: tuple[int, int]
    mean: Sequence[float]
    std: Sequence[float]

    def __repr__(self) -> str:
        return f"Writer({self.name!r})"

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> list[str]:
        weights = next(self.module.parameters())
        x = (pixels.to(weights.device, weights.dtype) + 1) / 2
        x = functional.interpolate(x, size=self.size, mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = (x.new_tensor(v).view(-1, 1, 1) for v in (self.mean, self.std))
        ids = self.module.generate(
            pixel_values=(x - mean) / std, max_new_tokens=LONGEST, num_beams=3, do_sample=False
        )
        texts = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]


def load_captioner(name: str | Path, device: str = "auto") -> Writer:
    """A captioner from a folder or Hub id: a BlipForConditionalGeneration or the like.

    Raises InputError for anything else; weights are read from safetensors alone, no code is run.
    """
    folder = find(str(name))
    if not (folder / "config.json").is_file():
        raise InputError(f"{name}: is no captioner (no config.json)")
    config = read_json(folder / "config.json")
    named = next(iter(config.get("architectures") or []), None)
    if named not in WRITERS:
        raise InputError(
            f"{name}: the class {named} is no captioner; expected {' or '.join(WRITERS)}"
        )
    check_part(folder.parent, folder.name)
    module, tokenizer = quietly(partial(read_writer, folder, str(named)), str(name))
    module.eval().requires_grad_(False).to(where(device))
    about = folder / "preprocessor_config.json"
    notes = read_json(about) if about.is_file() else {}
    size = notes.get("size") or config.get("vision_config", {}).get("image_size", 384)
    mean, std = notes.get("image_mean", CLIP_MEAN), notes.get("image_std", CLIP_STD)
    return Writer(module, tokenizer, folder.name, sides(size, name), mean, std)


def sides(size: Any, name: str | Path) -> tuple[int, int]:
    """(height, width) of what an image processor's ``size`` says, in any of its forms."""
    if isinstance(size, dict):
        size = (size.get("height", size.get("shortest_edge")), size.get("width"))
    height, width = size if isinstance(size, tuple) else (size, size)
    found = (height, height if width is None else width)
    if not all(isinstance(side, int) and side > 0 for side in found):
        raise InputError(f"{name}: its preprocessor_config.json has no size of pictures")
    return found


def read_writer(folder: Path, named: str) -> tuple[Any, Any]:
    import transformers

    options: dict[str, Any] = {"local_files_only": True}
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), **options)
    options |= {"use_safetensors": True, "torch_dtype": torch.float32}
    return getattr(transformers, named).from_pretrained(str(folder), **options), tokenizer


def captioner_of(model: Any, captioner: str | Path | Captioner | None) -> Captioner:
    """Who writes captions: the model's own vocabulary, a named network, or a function."""
    if captioner is None:
        return vocabulary_of(model)
    return captioner if callable(captioner) else load_captioner(captioner, str(model.device))


def captioner_for(
    model: Any, prompt: Any, captioner: str | Path | Captioner | None, image: Any
) -> Captioner | None:
    """Who writes the prompts of an inversion; None where they are given."""
    if prompt is not None:
        if captioner is not None:
            raise InputError("got a prompt and a captioner: leave one of them out")
        return None
    if isinstance(image, Tensor):
        raise InputError("latents cannot be captioned: give the prompt, or a picture")
    return captioner_of(model, captioner)


def who(captioner: Captioner) -> str:
    """What a record says of a captioner."""
    own = isinstance(captioner, (Vocabulary, Writer))
    return repr(captioner) if own else describe(captioner)
