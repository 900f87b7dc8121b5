"""Prompts as a tokenizer has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from noisespace.models.exclusive import exclusive


class Tokenized(NamedTuple):
    """Token ids (rows, tokens), the tokens' symbols, and what of each prompt had no room."""

    ids: Tensor
    tokens: tuple[tuple[str, ...], ...]
    cut: tuple[str, ...]


def tokenize(tokenizer: Any, prompts: Sequence[str]) -> Tokenized:
    """Prompts, each filled up or cut to the length that the text encoder reads."""
    length = tokenizer.model_max_length
    # Padding and truncation are state of a fast tokenizer, set by each call: in two threads one
    # reads with the other's.
    with exclusive(tokenizer):
        ids = tokenizer(
            list(prompts),
            padding="max_length",
            max_length=length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        whole = tokenizer(list(prompts), truncation=False, verbose=False).input_ids
    return Tokenized(
        ids,
        tuple(tuple(tokenizer.convert_ids_to_tokens(row.tolist())) for row in ids),
        tuple(
            tokenizer.decode(row[length - 1 : -1]).strip() if len(row) > length else ""
            for row in whole
        ),
    )
