"""How well pictures answer to prompts: two encoders that embed both, as a differentiable score.

The embedded models bring a small one of their own ("alignment"), trained on what they draw; a CLIP
folder or Hub id works as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from noisespace.errors import InputError
from noisespace.models.loading import EMBEDDED, find, where
from noisespace.models.pipeline_folder import check_part, quietly, read_json
from noisespace.models.text import tokenize

CLASSES = ("CLIPModel", "VisionTextDualEncoderModel")
INSIDE = "alignment"  # the folder of a model's own encoders
AT_ONCE = 1024  # prompts embedded in one go
Prompts = Sequence[str] | Tensor  # in words, or embedded by ``Alignment.prompts``
Stamp = tuple[tuple[str | int, ...], ...]
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Alignment:
    """Pictures and prompts in one space: ``alignment(pixels, prompts)`` is their cosine, (rows,).

    ``pixels`` (rows, 3, H, W) in [-1, 1] at any size; they are resized whole, not cropped. All
    methods are differentiable by the pixels, so that any of them can guide
    (``ns.ScoreGuidance``, ``ns.Guided``). Where prompts stay the same from call to call, what
    ``prompts`` makes of them may be given in their place.
    """

    def __init__(
        self,
        encoders: Any,
        tokenizer: Any,
        name: str,
        size: int,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
    ) -> None:
        """``encoders``: a CLIPModel or VisionTextDualEncoderModel that takes ``size`` pixels."""
        self.encoders, self.tokenizer, self.name = encoders, tokenizer, name
        self.size, self.mean, self.std = size, tuple(mean), tuple(std)

    def __repr__(self) -> str:  # what a record says of it
        return f"Alignment({self.name!r})"

    def __call__(self, pixels: Tensor, prompts: Prompts) -> Tensor:
        if len(pixels) != len(prompts) or isinstance(prompts, str):
            given = repr(prompts) if isinstance(prompts, str) else len(prompts)
            raise InputError(
                f"expected a list of {len(pixels)} prompts, one a picture; got {given}"
            )
        seen = self.pictures(pixels)
        return (seen * self.prompts(prompts).to(seen)).sum(1)

    def seen(self, pixels: Tensor) -> Any:
        """What the vision tower makes of pictures."""
        weights = next(self.encoders.parameters())
        x = (pixels.to(weights.device, weights.dtype) + 1) / 2
        if x.shape[-2:] != (self.size, self.size):
            x = functional.interpolate(
                x, size=(self.size, self.size), mode="bicubic", antialias=True
            )
        mean, std = (x.new_tensor(v).view(-1, 1, 1) for v in (self.mean, self.std))
        return self.encoders.vision_model(pixel_values=(x - mean) / std)

    def pictures(self, pixels: Tensor) -> Tensor:
        """Embeddings (rows, d) of length 1."""
        embedded = self.encoders.visual_projection(self.seen(pixels).pooler_output.flatten(1))
        return functional.normalize(embedded, dim=1).to(pixels)

    def prompts(self, prompts: Prompts) -> Tensor:
        """Embeddings (rows, d) of length 1; a prompt that occurs twice is embedded once."""
        if isinstance(prompts, Tensor):
            return prompts
        if isinstance(prompts, str):
            raise InputError(f"expected a list of prompts, got {prompts!r}")
        known = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
        texts = list(known)
        parts = [self._read(texts[i : i + AT_ONCE]) for i in range(0, len(texts), AT_ONCE)]
        return torch.cat(parts)[[known[prompt] for prompt in prompts]]

    @torch.no_grad()
    def _read(self, texts: list[str]) -> Tensor:
        ids = tokenize(self.tokenizer, texts).ids
        device = next(self.encoders.parameters()).device
        out = self.encoders.text_model(input_ids=ids.to(device)).pooler_output
        return functional.normalize(self.encoders.text_projection(out), dim=1)

    def odds(self, pixels: Tensor, prompts: Prompts, others: Prompts) -> Tensor:
        """log p(prompt | picture) against one other prompt a row, (rows,): a two-way classifier."""
        away = self.prompts(prompts) - self.prompts(others)
        scale = self.encoders.logit_scale.detach().exp()
        return functional.logsigmoid(scale * (self.pictures(pixels) * away.to(pixels)).sum(1))

    def direction(
        self, pixels: Tensor, source: Tensor, prompts: Prompts, others: Prompts
    ) -> Tensor:
        """Cosine of the change of the pictures and the change of their prompts, (rows,).

        From ``source`` (rows, 3, H, W) and ``others`` to ``pixels`` and ``prompts``: what the
        directional loss takes from 1 (arXiv 2108.00946; 2110.02711, eq. 9).
        """
        moved = self.pictures(pixels) - self.pictures(source)
        wanted = (self.prompts(prompts) - self.prompts(others)).to(moved)
        return functional.cosine_similarity(moved, wanted, dim=1, eps=1e-6)

    def structure(self, pixels: Tensor) -> Tensor:
        """Cosine self-similarity of the vision tower's last map, (rows, places, places).

        What it shows is the layout, whatever the look (arXiv 2201.00424, eq. 5).
        """
        x = self.seen(pixels).last_hidden_state
        x = x.flatten(2).mT if x.ndim == 4 else x[:, 1:]  # a ViT's first token is no place
        x = functional.normalize(x, dim=2)
        return (x @ x.mT).to(pixels)


def load_alignment(name: str | Path, device: str = "auto") -> Alignment:
    """An alignment model: of an embedded or other model ("scenes", a folder that has one), or CLIP.

    ``name``: the model's name or folder, or the folder or Hub id of a CLIPModel. Raises InputError
    for anything else; weights are read from safetensors alone.
    """
    given = str(name)
    folder = find(given)
    inside = folder / INSIDE
    if not inside.is_dir() and (given in EMBEDDED or (folder / "model_index.json").exists()):
        raise InputError(f"the model {given} has no alignment model; name a CLIP folder or Hub id")
    return read(inside if inside.is_dir() else folder, where(device))


def alignment_of(name: str, model: Any) -> Alignment:
    """The alignment model that a setting names: "alignment" is the model's own.

    Raises InputError, saying what to do, where the model brings none.
    """
    if name != "alignment":
        try:
            return load_alignment(name, str(model.device))
        except InputError as error:
            raise InputError(
                f"got {name!r} as alignment model, expected alignment (the model's own), or the "
                f"folder or Hub id of a CLIP: {error}"
            ) from None
    encoders = model.alignment_folder
    if encoders is None:
        raise InputError(
            f"the model {model.name} brings no alignment model: name the folder or Hub id of a CLIP"
        )
    return read(encoders, model.device)


def read(folder: Path, device: torch.device) -> Alignment:
    """The encoders of a folder, in float32; read once while the files stay as they are."""
    return _read(folder, device, stamp(folder))


def stamp(folder: Path) -> Stamp:
    """What changes when a file of a folder is written anew; nothing is read for it."""
    files = [(file.name, file.stat()) for file in sorted(folder.glob("*")) if file.is_file()]
    # times can be coarse: a file that is replaced has another inode too
    return tuple((name, s.st_mtime_ns, s.st_size, s.st_ino) for name, s in files)


@lru_cache(maxsize=4)  # the stamp only tells a folder from what it was before a training
def _read(folder: Path, device: torch.device, _: Stamp) -> Alignment:
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: is no alignment model (no config.json)")
    config = read_json(folder / "config.json")
    named = next(iter(config.get("architectures") or []), None)
    if named not in CLASSES:
        raise InputError(
            f"{folder}: the class {named} is not supported; expected {' or '.join(CLASSES)}"
        )
    check_part(folder.parent, folder.name)

    def encoders() -> tuple[Any, Any]:
        import transformers

        options: dict[str, Any] = {"local_files_only": True}
        tokenizer = transformers.CLIPTokenizer.from_pretrained(str(folder), **options)
        options |= {"use_safetensors": True, "torch_dtype": torch.float32}
        return getattr(transformers, named).from_pretrained(str(folder), **options), tokenizer

    module, tokenizer = quietly(encoders, str(folder))
    module.eval().requires_grad_(False).to(device)
    about = folder / "preprocessor_config.json"
    notes = read_json(about) if about.is_file() else {}
    mean, std = notes.get("image_mean", CLIP_MEAN), notes.get("image_std", CLIP_STD)
    size = config.get("vision_config", {}).get("image_size", 224)
    name = folder.parent.name if folder.name == INSIDE else folder.name
    return Alignment(module, tokenizer, name, int(size), mean, std)
