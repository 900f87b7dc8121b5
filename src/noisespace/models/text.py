"""Prompts as tokenizers part them and text encoders read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from noisespace.core.condition import END, PADDING, START, T5_END, WORD_END
from noisespace.errors import InputError
from noisespace.models.exclusive import exclusive
from noisespace.models.running import in_use


class Tokenized(NamedTuple):
    """Token ids (rows, tokens), the tokens as ``Condition`` writes them, and what had no room."""

    ids: Tensor
    tokens: tuple[tuple[str, ...], ...]
    cut: tuple[str, ...]


def tokenize(tokenizer: Any, prompts: Sequence[str], length: int | None = None) -> Tokenized:
    """Prompts, each filled up or cut to the ``length`` that the text encoder reads."""
    length = int(length or tokenizer.model_max_length)
    # Padding and truncation are state of a fast tokenizer, set by each call: in two threads one
    # reads with the other's.
    with exclusive(tokenizer):
        texts = in_full(tokenizer, prompts)
        options = {"padding": "max_length", "max_length": length, "truncation": True}
        ids = tokenizer(texts, return_tensors="pt", **options).input_ids
        whole = tokenizer(texts, truncation=False, verbose=False).input_ids
    rows = [tokenizer.convert_ids_to_tokens(row.tolist()) for row in ids]
    added = set(tokenizer.added_tokens_encoder) - set(tokenizer.all_special_tokens)
    return Tokenized(
        ids,
        tuple(tuple(written(row, added, tokenizer)) for row in rows),
        tuple(
            tokenizer.decode(row[length - 1 : -1]).strip() if len(row) > length else ""
            for row in whole
        ),
    )


def in_full(tokenizer: Any, prompts: Sequence[str]) -> list[str]:
    """Prompts with every token that stands for several vectors written out, "<x>" as "<x> <x>_1".

    (The vectors of a textual inversion, named as diffusers names them when it loads one.)
    """
    texts = list(prompts)
    if not any(token.endswith("_1") for token in tokenizer.added_tokens_encoder):
        return texts
    from diffusers.loaders import TextualInversionLoaderMixin

    mixin = TextualInversionLoaderMixin()
    return [str(mixin.maybe_convert_prompt(text, tokenizer)) for text in texts]


def written(tokens: Sequence[str], added: set[str], tokenizer: Any) -> list[str]:
    """Tokens as CLIP writes them, whatever the tokenizer: pieces, the last of a word marked.

    SentencePiece (T5) marks where a word begins; a token that was added later is a word by itself.
    """
    if tokenizer.bos_token == START:
        end = tokens.index(END) if END in tokens else len(tokens)
        # what comes after the end is padding, whatever token fills it ("!" in Stable Diffusion 2)
        out = [token + WORD_END if token in added else token for token in tokens[:end]]
        return out + [END] * (len(tokens) - end)
    special = {tokenizer.eos_token: T5_END, tokenizer.pad_token: PADDING}
    out = []
    for token, following in zip(tokens, [*tokens[1:], "\u2581"], strict=True):
        if token in special:
            out.append(special[token])
            continue
        last = following.startswith("\u2581") or following in special or token in added
        piece = "".join(symbols()[byte] for byte in token.removeprefix("\u2581").encode())
        out.append(piece + WORD_END * last)
    return out


@cache
def symbols() -> dict[int, str]:
    """The printable symbol that byte-level tokenizers have for each byte."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return bytes_to_unicode()


class Encoded(NamedTuple):
    """Embeddings of tokens (rows, tokens, d), of the whole prompt (rows, p), and the tokens."""

    embedding: Tensor
    pooled: Any  # a tensor, None of an encoder that makes none
    read: Tokenized


def text_encoder(pipe: Any, number: int = 1, length: int | None = None, layer: int = 1) -> Any:
    """The first, second or third text encoder of a pipeline, with its tokenizer.

    Raises InputError where the pipeline lacks it.
    """
    suffix = "" if number == 1 else f"_{number}"
    encoder, tokenizer = (
        getattr(pipe, name + suffix, None) for name in ("text_encoder", "tokenizer")
    )
    if encoder is None or tokenizer is None:
        raise InputError(
            f"the pipeline has no text_encoder{suffix} with its tokenizer, without which its "
            "prompts are not those it was trained on: load it whole"
        )
    return TextEncoder(encoder, tokenizer, length, layer)


@dataclass(frozen=True)
class TextEncoder:
    """A CLIP's or a T5's text encoder and its tokenizer.

    ``length``: of what it reads, in tokens (None: the tokenizer's own); ``layer``: of CLIP, which
    one is read, counted from the end: 1 the last, with its norm, as Stable Diffusion has it, 2 the
    one before, without, as its successors have it.
    """

    encoder: Any
    tokenizer: Any
    length: int | None = None
    layer: int = 1

    def __call__(
        self, prompts: Sequence[str], device: torch.device, place: torch.device | None
    ) -> Encoded:
        """``place``: the device that the encoder visits, where it rests on another one."""
        read = tokenize(self.tokenizer, prompts, self.length)
        options = {"output_hidden_states": True} if self.layer > 1 else {}
        with in_use(self.encoder, place):
            out = self.encoder(read.ids.to(device), **options)
        embedding = out.last_hidden_state if self.layer == 1 else out.hidden_states[-self.layer]
        pooled = getattr(out, "text_embeds", None)  # CLIP's projected, where it has one
        if pooled is None:
            pooled = getattr(out, "pooler_output", None)
        return Encoded(embedding, pooled, read)
