"""What a network is told beside the state: embedded prompts, and whatever else a family wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

TEXT, POOLED, GUIDANCE = "text", "pooled", "guidance"
PAINT = "paint"
# Of the tokens of a row, as CLIP writes them
START, END, WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"
T5_END, PADDING = "</s>", "<pad>"


class Negative(str):
    """A prompt in the place of the null text: like it, it skips no layer of a text encoder.

    (As None among prompts is the null text itself. Elsewhere it is a text like any other.)
    """

    __slots__ = ()


@dataclass(frozen=True)
class Condition:
    """Named tensors, rows first, and the words that they came from.

    ``tensors``: "text" (rows, l, d), the token embeddings that attention reads, and what else the
    family's network takes: "pooled" (rows, p), "mask" (rows, l), "paint" (rows, 1 + c, h, w), the
    mask and the latents of the masked picture that an inpainting network is told ...; "guidance"
    (rows,) where the network is told its weight; ``tokens``: the tokens of each row in the order of
    "text", in CLIP's way of writing whatever the tokenizer was: special ones, and pieces of words
    of which the last is marked, those of one text encoder after those of another; ``cut``: what the
    tokenizer had no room for, "" where nothing was cut. Its algebra is ``rows``, ``cat`` and
    ``with_tensor``.
    """

    tensors: Mapping[str, Tensor]
    prompts: tuple[str, ...]
    tokens: tuple[tuple[str, ...], ...] = ()
    cut: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def embedding(self) -> Tensor:
        """The token embeddings, (rows, l, d)."""
        return self.tensors[TEXT]

    def rows(self, chosen: Sequence[int] | Tensor) -> Condition:
        """Some rows, repeated or reordered."""
        index = chosen.tolist() if isinstance(chosen, Tensor) else [int(i) for i in chosen]

        def pick(values: tuple) -> tuple:
            return tuple(values[i] for i in index) if values else ()

        tensors = {name: t[index] for name, t in self.tensors.items()}
        return Condition(tensors, pick(self.prompts), pick(self.tokens), pick(self.cut))

    def cat(self, other: Condition) -> Condition:
        """Two batches of prompts, one after the other."""
        return Condition(
            {name: torch.cat([t, other.tensors[name]]) for name, t in self.tensors.items()},
            self.prompts + other.prompts,
            self.tokens + other.tokens,
            self.cut + other.cut,
        )

    def with_tensor(self, name: str, tensor: Tensor) -> Condition:
        """The same prompts with one tensor more, or another one in its place."""
        return replace(self, tensors={**self.tensors, name: tensor})

    def with_text(self, embedding: Tensor) -> Condition:
        """The same prompts under other token embeddings (optimised ones, one a step)."""
        return self.with_tensor(TEXT, embedding)
