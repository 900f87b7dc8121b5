"""Prompts as tokenizers part them and text encoders read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import isfinite
from typing import Any, NamedTuple

import torch
from torch import Tensor

from noisespace.core.condition import END, PADDING, START, T5_END, WORD_END, Negative
from noisespace.errors import InputError
from noisespace.models.exclusive import exclusive
from noisespace.models.prompt_weights import note, parse, short
from noisespace.models.running import in_use


@dataclass(frozen=True)
class Reading:
    """How prompts are read: whose weights are written in them, and layers of CLIP to skip.

    ``weights``: "forge" or "comfyui"; None: nobody's, brackets are text. ``clip_skip``: how many
    layers before the family's own the one lies that is read, as diffusers' pipelines count. A null
    text and a negative prompt skip none, as there.
    """

    weights: str | None = None
    clip_skip: int = 0

    @classmethod
    def of(cls, weights: str | None, clip_skip: int | None) -> Reading:
        """Raises InputError for names and numbers that mean nothing."""
        parse("", weights)
        if clip_skip is not None and (type(clip_skip) is not int or clip_skip < 0):
            raise InputError(f"clip_skip must be a whole number from 0 on, got {clip_skip!r}")
        return cls(weights, clip_skip or 0)

    def record(self) -> dict[str, Any]:
        """What a record and a fingerprint say: what is set."""
        said = {"weights": self.weights, "clip_skip": self.clip_skip}
        return {name: value for name, value in said.items() if value}


class Tokenized(NamedTuple):
    """Token ids (rows, tokens), the tokens as ``Condition`` writes them, and what had no room.

    ``weights`` (rows, tokens): those that the prompts give them.
    """

    ids: Tensor
    tokens: tuple[tuple[str, ...], ...]
    cut: tuple[str, ...]
    weights: Tensor


def tokenize(
    tokenizer: Any,
    prompts: Sequence[str],
    length: int | None = None,
    weights: str | None = None,
) -> Tokenized:
    """Prompts, each filled up or cut to the ``length`` that the text encoder reads.

    ``weights``: whose marks they have; the tokens are those of their texts without marks.
    """
    length = int(length or tokenizer.model_max_length)
    # Padding and truncation are state of a fast tokenizer, set by each call: in two threads one
    # reads with the other's.
    with exclusive(tokenizer):
        pieces = [parse(prompt, weights) for prompt in prompts]
        parts = in_full(tokenizer, [text for row in pieces for text, _ in row])
        if weights is None:
            options = {"padding": "max_length", "max_length": length, "truncation": True}
            ids = tokenizer(parts, return_tensors="pt", **options).input_ids
            whole = tokenizer(parts, truncation=False, verbose=False).input_ids
            factors = torch.ones(ids.shape)
        else:
            whole, spread = token_weights(tokenizer, parts, [[w for _, w in row] for row in pieces])
            end, padding = whole[0][-1], tokenizer.pad_token_id
            ids = torch.tensor([fit_row(row, length, end, padding) for row in whole])
            factors = torch.tensor(
                [fit_row(row, length, 1, 1) for row in spread], dtype=torch.float64
            )
    rows = [tokenizer.convert_ids_to_tokens(row.tolist()) for row in ids]
    added = set(tokenizer.added_tokens_encoder) - set(tokenizer.all_special_tokens)
    return Tokenized(
        ids,
        tuple(tuple(written(row, added, tokenizer)) for row in rows),
        tuple(
            tokenizer.decode(row[length - 1 : -1]).strip() if len(row) > length else ""
            for row in whole
        ),
        factors,
    )


def token_weights(
    tokenizer: Any, texts: Sequence[str], weights: Sequence[Sequence[float]]
) -> tuple[list[list[int]], list[list[float]]]:
    """Token ids of prompts and the weight of each token, uncut.

    ``weights``: of the texts that each prompt consists of, which become tokens one by one, so that
    a mark ends a word, as it does in Forge and ComfyUI.
    """
    *start, end = tokenizer("").input_ids  # CLIP begins by a token, T5 does not
    read = iter(tokenizer(texts, add_special_tokens=False, verbose=False).input_ids)
    ids, spread = [], []
    for row in weights:
        own = [(token, weight) for weight in row for token in next(read)]
        ids.append([*start, *(token for token, _ in own), end])
        spread.append([*(1.0 for _ in start), *(weight for _, weight in own), 1.0])
    return ids, spread


def fit_row(row: list, length: int, end: float, padding: float) -> list:
    """A row of tokens or weights, cut before its end or filled up."""
    return [*row[: length - 1], end] if len(row) > length else row + [padding] * (length - len(row))


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


def text_encoder(
    pipe: Any, reading: Reading, number: int = 1, length: int | None = None, layer: int = 1
) -> TextEncoder:
    """The first, second or third text encoder of a pipeline, with its tokenizer.

    Raises InputError where the pipeline lacks it, or it has too few layers to skip.
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
    most = encoder.config.num_hidden_layers + 1 - layer
    if reading.clip_skip > most:
        raise InputError(
            f"clip_skip must be {most} at most: text_encoder{suffix} has "
            f"{encoder.config.num_hidden_layers} layers; got {reading.clip_skip}"
        )
    return TextEncoder(encoder, tokenizer, length, layer, reading)


@dataclass(frozen=True)
class TextEncoder:
    """A CLIP's or a T5's text encoder and its tokenizer.

    ``length``: of what it reads, in tokens (None: the tokenizer's own); ``layer``: of CLIP, which
    one is read, counted from the end: 1 the last, with its norm, as Stable Diffusion has it, 2 the
    one before, without, as its successors have it, 0 none: the whole prompt alone.
    """

    encoder: Any
    tokenizer: Any
    length: int | None = None
    layer: int = 1
    reading: Reading = Reading()

    def __call__(
        self, prompts: Sequence[str | None], device: torch.device, place: torch.device | None
    ) -> Encoded:
        """``place``: the device that the encoder visits, where it rests on another one.

        Weights are those of the tokens; the embedding of the whole prompt knows none, as in Forge
        and ComfyUI.
        """
        texts, weights = [prompt or "" for prompt in prompts], self.reading.weights
        read = tokenize(self.tokenizer, texts, self.length, weights)
        plain, ids = not self.layer or bool((read.weights == 1).all()), read.ids
        if not plain and weights == "comfyui":  # which measures from the empty prompt
            ids = torch.cat([ids, tokenize(self.tokenizer, [""], self.length).ids])
        options = {"output_hidden_states": True} if self.layer + self.reading.clip_skip > 1 else {}
        with in_use(self.encoder, place):
            out = self.encoder(ids.to(device), **options)
            shallow, deep = self.layers(out)
        pooled = getattr(out, "text_embeds", None)  # CLIP's projected, where it has one
        if pooled is None:
            pooled = getattr(out, "pooler_output", None)
        skips = [not isinstance(prompt, Negative | None) for prompt in prompts]
        chosen = torch.tensor(skips, device=deep.device)[:, None, None]
        embedding = torch.where(chosen, deep[: len(texts)], shallow[: len(texts)])
        if not plain and weights == "comfyui":
            empty = torch.where(chosen, deep[-1], shallow[-1])
            embedding = as_comfyui(embedding, read.weights, empty)
            pooled = None if pooled is None else pooled[: len(texts)]
        elif not plain:
            embedding = as_forge(embedding, read.weights, texts)
        return Encoded(embedding, pooled, read)

    def layers(self, out: Any) -> tuple[Tensor, Tensor]:
        """What is read of an encoder's output without ``clip_skip`` and with it."""
        own = out.last_hidden_state if self.layer < 2 else out.hidden_states[-self.layer]
        if not self.reading.clip_skip:
            return own, own
        deep = out.hidden_states[-self.layer - self.reading.clip_skip]
        if self.layer > 1:
            return own, deep
        modules = self.encoder.named_modules()  # it stands where the version of transformers has it
        norm = next(part for name, part in modules if name.endswith("final_layer_norm"))
        return own, norm(deep)


def as_forge(z: Tensor, weights: Tensor, prompts: Sequence[str]) -> Tensor:
    """Embeddings (rows, tokens, d) times weights (rows, tokens), the mean of each row kept.

    Warns where that mean makes much of little: a row is multiplied by what the weights divide its
    mean by. Raises InputError where nothing is left of it.
    """
    wide = z.to(torch.promote_types(z.dtype, torch.float32))
    factors = weights.to(z.device, wide.dtype)[..., None]
    new = wide * factors
    gain = wide.mean((1, 2)) / new.mean((1, 2))
    unweighted = (factors == 1).all(1)[:, 0]
    for prompt, ratio, same in zip(prompts, gain.tolist(), unweighted.tolist(), strict=True):
        if same:
            continue
        if not isfinite(ratio):
            raise InputError(f"the weights of the prompt {short(prompt)} leave nothing of it")
        if not 0.5 < ratio < 2:
            note(
                prompt,
                f"is multiplied by {ratio:.2g} to keep its mean, as in Forge: this text encoder's "
                'is near 0, weights="comfyui" needs none',
            )
    return torch.where(unweighted[:, None, None], z, (new * gain[:, None, None]).to(z.dtype))


def as_comfyui(z: Tensor, weights: Tensor, empty: Tensor) -> Tensor:
    """Embeddings (rows, tokens, d), moved from the empty prompt's by weights (rows, tokens)."""
    wide = z.to(torch.promote_types(z.dtype, torch.float32))
    factors = weights.to(z.device, wide.dtype)[..., None]
    return torch.where(factors == 1, z, (empty + (wide - empty) * factors).to(z.dtype))
