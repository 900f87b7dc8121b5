"""CLIP's tokenizer, made of the merges that come with the package."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path
from typing import Any

from noisespace.core.condition import END, START, WORD_END

MERGES = Path(__file__).parent / "configs" / "clip_merges.txt.gz"
LENGTH = 77


def clip_tokenizer(padding: str = END) -> Any:
    """The tokenizer of OpenAI's CLIP and of OpenCLIP, 49408 tokens; a new one each time.

    ``padding``: what fills a prompt up: the end again, or "!" (id 0) as OpenCLIP's encoders do.
    """
    from transformers import CLIPTokenizer

    vocabulary, merges = vocabulary_of_clip()
    options: dict[str, Any] = {"pad_token": padding, "model_max_length": LENGTH}
    return CLIPTokenizer(vocab=dict(vocabulary), merges=list(merges), **options)


@cache
def vocabulary_of_clip() -> tuple[dict[str, int], list[Any]]:
    """Ids by token: bytes, bytes that end a word, the merged pairs, start and end."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    lines = gzip.decompress(MERGES.read_bytes()).decode().split("\n")
    merges = [(first, second) for first, second in (line.split(" ") for line in lines)]
    symbols = list(bytes_to_unicode().values())
    tokens = [*symbols, *(symbol + WORD_END for symbol in symbols)]
    tokens += [first + second for first, second in merges] + [START, END]
    return {token: number for number, token in enumerate(tokens)}, merges
