"""What is added to a model as it is loaded: LoRAs, embeddings, another autoencoder."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisespace.errors import InputError
from noisespace.models.weight_file import check_weight_file, is_file_name

Names = str | os.PathLike | Sequence[str | os.PathLike] | None


@dataclass(frozen=True)
class Additions:
    """Checked options of ``load``: LoRAs with their scales, embeddings, an autoencoder's name."""

    lora: tuple[tuple[Path, float], ...] = ()
    embedding: tuple[Path, ...] = ()
    vae: str | None = None

    @classmethod
    def of(cls, lora: Names, embedding: Names, vae: str | os.PathLike | None) -> Additions:
        """Raises InputError for files that are not there, or no .safetensors."""
        from noisespace.models.lora import check_peft

        loras = tuple(scaled(text) for text in listed(lora))
        if loras:
            check_peft()
        files = tuple(check_weight_file(Path(text).expanduser()) for text in listed(embedding))
        if vae is not None and is_file_name(path := Path(vae).expanduser()):
            check_weight_file(path)
        return cls(loras, files, None if vae is None else str(vae))

    def add(self, kind: str, parts: Mapping[str, Any]) -> None:
        """Changes the parts of a pipeline of a class: new tokens first, then fused weights."""
        if self.embedding:
            from noisespace.models.embeddings import add_embedding

            for path in self.embedding:
                add_embedding(parts, path)
        if self.lora:
            from noisespace.models.lora import fuse

            fuse(kind, parts, self.lora)

    def record(self) -> dict[str, Any]:
        """What a record says: names without paths, and scales."""
        said: dict[str, Any] = {}
        if self.lora:
            said["lora"] = [f"{path.name}:{scale:g}" for path, scale in self.lora]
        if self.embedding:
            said["embedding"] = [path.name for path in self.embedding]
        if self.vae is not None:
            local = Path(self.vae).expanduser()
            said["vae"] = local.resolve().name if local.exists() else self.vae
        return said


def listed(names: Names) -> list[str]:
    """One name or several, or none, as a list."""
    if names is None:
        return []
    return [str(names)] if isinstance(names, str | os.PathLike) else [str(name) for name in names]


def scaled(text: str) -> tuple[Path, float]:
    """FILE or FILE:SCALE, as the file and its scale (1 by default)."""
    file, colon, number = text.rpartition(":")
    try:
        scale = float(number) if colon else 1.0
    except ValueError:  # a colon of the path
        file, scale = "", 1.0
    if not math.isfinite(scale):
        raise InputError(f"lora {text!r}: the scale must be a finite number, such as 0.8")
    return check_weight_file(Path(file or text).expanduser()), scale
