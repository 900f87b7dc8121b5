"""The text side of a trained model: a tokenizer with one token a word, a small CLIP encoder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.trainers import BpeTrainer
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from noisespace.train.config import AlignmentStage, DiffusionStage
from noisespace.train.shapes import TEXT_HEADS


def build_tokenizer(words: Sequence[str], length: int) -> CLIPTokenizer:
    """A CLIPTokenizer made in memory; each word is one token, other text falls back to bytes.

    Byte-pair encoding trained on the words alone, until none is left in parts: merges that are put
    together word by word get in each other's way.
    """
    letters = list(bytes_to_unicode().values())
    model = Tokenizer(BPE(end_of_word_suffix="</w>"))
    model.pre_tokenizer = WhitespaceSplit()
    settings: dict[str, Any] = {
        "vocab_size": 10**6,
        "min_frequency": 0,
        "end_of_word_suffix": "</w>",
        "show_progress": False,
        # fixes their numbers, by which ties are broken: else each run makes other merges
        "special_tokens": [*letters, *(letter + "</w>" for letter in letters)],
    }
    model.train_from_iterator(dict.fromkeys(words), BpeTrainer(**settings))
    found = json.loads(model.to_str())["model"]
    merges = [tuple(pair) for pair in found["merges"]]
    tokens_ = [*letters, *(letter + "</w>" for letter in letters)]
    tokens_ += [a + b for a, b in merges]
    tokens_ += ["<|startoftext|>", "<|endoftext|>"]
    table = {token: index for index, token in enumerate(dict.fromkeys(tokens_))}
    return CLIPTokenizer(vocab=table, merges=cast(Any, merges), model_max_length=length)


def text_config(config: DiffusionStage | AlignmentStage, tokenizer: CLIPTokenizer) -> Any:
    """The configuration of a small CLIPTextModel for that tokenizer."""
    settings: dict[str, Any] = dict(  # noqa: C408
        vocab_size=len(tokenizer),
        hidden_size=config.text_hidden,
        intermediate_size=2 * config.text_hidden,
        num_hidden_layers=config.text_layers,
        num_attention_heads=TEXT_HEADS,
        max_position_embeddings=config.text_length,
        projection_dim=config.text_hidden,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextConfig(**settings)


def build_text_encoder(
    config: DiffusionStage, tokenizer: CLIPTokenizer, seed: int
) -> CLIPTextModel:
    """A CLIPTextModel with random weights for that tokenizer."""
    torch.manual_seed(seed)
    return CLIPTextModel(text_config(config, tokenizer))


def tokens(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> Tensor:
    """(n, length) token ids, padded and cut as StableDiffusionPipeline does."""
    batch = tokenizer(
        list(captions),
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    return batch.input_ids
