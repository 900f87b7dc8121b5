"""IP-Adapters: a picture beside the prompt, which a U-Net attends to (arXiv 2308.06721)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from noisespace.core.condition import Condition, Negative
from noisespace.errors import InputError


@dataclass(frozen=True)
class IPAdapters:
    """What the pictures of a pipeline's adapters say, for each (negative, positive), (1, ...).

    ``digest``: of that, and of the scales that the adapters were set to.
    """

    embeddings: tuple[tuple[Tensor, Tensor], ...] = ()
    digest: str = ""

    @classmethod
    def of(cls, pipe: Any, processors: Sequence[Any], picture: Any) -> IPAdapters:
        """By the pipeline's own image encoder. ``picture``: one, or a list with one an adapter.

        Raises InputError where the pipeline has no image encoder, or adapters of another number.
        """
        try:
            both = pipe.prepare_ip_adapter_image_embeds(picture, None, pipe.device, 1, True)
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError(
                "ip_adapter_image must be a picture, or a list with one for each IP-Adapter of a "
                f"pipeline with its image encoder: {str(error).splitlines()[0]}"
            ) from None
        pairs = tuple((pair[:1].detach(), pair[1:].detach()) for pair in both)
        scales = [getattr(one, "scale", None) for one in processors]
        digest = hashlib.sha256(json.dumps(scales).encode())
        for tensor in (tensor for pair in pairs for tensor in pair):
            digest.update(tensor.to("cpu", torch.bfloat16).view(torch.int16).numpy().tobytes())
        return cls(pairs, digest.hexdigest())

    def record(self) -> dict[str, str]:
        return {"ip_adapter": self.digest[:12]} if self.digest else {}

    def tensors(self, prompts: Sequence[str | None]) -> dict[str, Tensor]:
        """Of each row the adapters' pictures, or no picture where it is a null text's."""
        nulls = [prompt is None or isinstance(prompt, Negative) for prompt in prompts]
        return {
            name_of(i): torch.cat([negative if null else positive for null in nulls])
            for i, (negative, positive) in enumerate(self.embeddings)
        }

    def told(self, condition: Condition, like: Tensor) -> dict[str, list[Tensor]]:
        """What ``added_cond_kwargs`` of a U-Net must have."""
        if not self.embeddings:
            return {}
        names = map(name_of, range(len(self.embeddings)))
        return {"image_embeds": [condition.tensors[name].to(like) for name in names]}


def name_of(adapter: int) -> str:
    """Of a condition's tensor."""
    return f"picture {adapter}"
