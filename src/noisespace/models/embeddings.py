"""Textual inversions from files: new tokens with their own vectors (arXiv 2208.01618)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from noisespace.core.condition import START
from noisespace.errors import InputError
from noisespace.models.weight_file import check_weight_file, header_of, kind_of_file

# The names that files for two text encoders have for them
ENCODERS = {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}


def add_embedding(parts: Mapping[str, Any], path: Path) -> str:
    """Adds a file's token to the tokenizers and its vectors to the text encoders; the token.

    A token of several vectors is "<x>", "<x>_1", ..., which a prompt writes as "<x>".

    Raises InputError for vectors of another model's width, or a token that is there already.
    """
    token, vectors = read_embedding(path)
    readers = [name for name in ENCODERS.values() if is_clip(parts, name)]
    if sorted(vectors) != sorted(readers):
        raise InputError(
            f"{path.name}: has vectors for {' and '.join(sorted(vectors))}, this model's CLIPs are "
            f"{' and '.join(readers) or 'none'}; an embedding goes with the base model that it was "
            "made for"
        )
    for name, rows in vectors.items():
        width = parts[name].get_input_embeddings().weight.shape[1]
        if rows.shape[1] != width:
            raise InputError(
                f"{path.name}: its vectors have {rows.shape[1]} numbers, this model's {width}; an "
                "embedding goes with the base model that it was made for"
            )
    for name, rows in vectors.items():
        encoder, tokenizer = parts[name], parts[name.replace("text_encoder", "tokenizer")]
        tokens = [token, *(f"{token}_{number}" for number in range(1, len(rows)))]
        if set(tokens) & set(tokenizer.get_vocab()):
            raise InputError(f"{path.name}: the model knows a token {token!r} already")
        tokenizer.add_tokens(tokens)
        table = encoder.get_input_embeddings().weight
        if len(tokenizer) > len(table):
            encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        table = encoder.get_input_embeddings().weight
        table.data[tokenizer.convert_tokens_to_ids(tokens)] = rows.to(table)
    return token


def is_clip(parts: Mapping[str, Any], name: str) -> bool:
    tokenizer = parts.get(name.replace("text_encoder", "tokenizer"))
    return parts.get(name) is not None and getattr(tokenizer, "bos_token", None) == START


def read_embedding(path: Path) -> tuple[str, dict[str, Tensor]]:
    """A file's token, and its vectors (vectors, width) by text encoder.

    The token is the file's own (diffusers' layout), or its name in angle brackets.
    """
    from safetensors.torch import load_file

    shapes, _ = header_of(check_weight_file(path))
    token, names = f"<{'-'.join(path.stem.split())}>", list(shapes)
    if names and set(names) <= set(ENCODERS):
        where = {key: ENCODERS[key] for key in names}
    elif len(names) == 1:
        where = {names[0]: "text_encoder"}
        token = token if names[0] == "emb_params" else names[0]
    else:
        raise InputError(f"{path.name}: holds no embedding, but {kind_of_file(shapes)}")
    if any(len(shape) not in (1, 2) for shape in shapes.values()):
        raise InputError(f"{path.name}: expected vectors, got tensors of another shape")
    tensors = load_file(path)
    return token, {part: tensors[key].reshape(-1, shapes[key][-1]) for key, part in where.items()}
