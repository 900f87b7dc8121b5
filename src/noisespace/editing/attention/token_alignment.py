"""Which token of one prompt answers to which of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from typing import Literal
from unicodedata import normalize

import torch
from torch import Tensor

from noisespace.errors import InputError

Mode = Literal["auto", "replace", "refine"]


@dataclass(frozen=True)
class Word:
    """A word of a prompt as the tokenizer has it, and the positions of its tokens."""

    text: str
    at: tuple[int, ...]


def words_of(tokens: Sequence[str]) -> list[Word]:
    """The words between the special tokens of a CLIP tokenizer, in order."""
    words: list[Word] = []
    text, at = "", []
    for position, token in enumerate(tokens[: end_of(tokens)]):
        if position == 0:
            continue  # the start token
        text += token.removesuffix("</w>")
        at.append(position)
        if token.endswith("</w>"):
            words.append(Word(readable(text), tuple(at)))
            text, at = "", []
    if at:  # a word that was cut
        words.append(Word(readable(text), tuple(at)))
    return words


def readable(symbols: str) -> str:
    """The text that a byte-level tokenizer's symbols stand for (one printable symbol a byte)."""
    known = byte_symbols()
    if not all(symbol in known for symbol in symbols):
        return symbols  # of a tokenizer whose symbols are the text itself
    return bytes(known[symbol] for symbol in symbols).decode("utf-8", errors="replace")


@cache
def byte_symbols() -> dict[str, int]:
    """GPT-2's alphabet: printable bytes stand for themselves, the others for symbols from 256."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(256 + k): byte for k, byte in enumerate(others)}


def end_of(tokens: Sequence[str]) -> int:
    """The position of the end token (the length where the prompt fills all positions)."""
    return tokens.index("<|endoftext|>") if "<|endoftext|>" in tokens else len(tokens)


def find_word(tokens: Sequence[str], phrase: str, prompt: str) -> list[int]:
    """The positions of every occurrence of a word or phrase.

    Raises InputError, saying which words there are, where it does not occur.
    """
    # Without spaces: the tokenizer parts "t-shirt" into three words, and a phrase may be as long.
    words, wanted = words_of(tokens), "".join(normalize("NFC", phrase).lower().split())
    texts = [word.text for word in words]
    at: list[int] = []
    for start in range(len(words)):
        end, joined = start, ""
        while end < len(words) and len(joined) < len(wanted):
            joined, end = joined + texts[end], end + 1
        if wanted and joined == wanted:
            at += [p for word in words[start:end] for p in word.at]
    if not at:
        raise InputError(
            f"the word {phrase!r} is not in the prompt {prompt!r}; its words are: "
            f"{', '.join(dict.fromkeys(texts)) or 'none'}"
        )
    return at


def align(source: Sequence[str], target: Sequence[str], mode: Mode) -> tuple[Tensor, Tensor]:
    """The mapper (source tokens, target tokens) and which target tokens it serves (tokens,).

    Prompt-to-Prompt's cross-attention becomes ``(p_source @ mapper) * serves + p * (1 - serves)``
    (arXiv 2208.01626, sec. 3.2). Words are aligned by their longest common subsequence; equal words
    take their own map. Where words were replaced by as many others, "auto" and "replace" give each
    its predecessor's map, shared out over the tokens; new words ("refine") keep their own. What is
    not a word goes with its like: start to start, end to end, padding to padding. Every source
    token that serves hands out weights that sum to 1.
    """
    old, new = words_of(source), words_of(target)
    if mode == "replace" and len(old) != len(new):
        raise InputError(
            f"mode replace swaps words one by one, but the prompts have {len(old)} and {len(new)} "
            'words: use mode "auto" or "refine", or prompts of the same number of words'
        )
    mapper = torch.zeros(len(source), len(target))
    serves = torch.zeros(len(target))

    def hand(from_: Sequence[int], to: Sequence[int]) -> None:
        serves[list(to)] = 1
        if len(from_) == len(to):
            mapper[list(from_), list(to)] = 1
        else:
            mapper[torch.tensor(from_)[:, None], torch.tensor(to)] = 1 / len(to)

    hand([0], [0])
    if mode == "replace":
        blocks = [("replace", 0, len(old), 0, len(new))]
    else:
        texts = [word.text for word in old], [word.text for word in new]
        blocks = SequenceMatcher(None, *texts, autojunk=False).get_opcodes()
    for tag, i, j, k, m in blocks:
        if tag == "equal" or (tag == "replace" and mode != "refine" and j - i == m - k):
            for a, b in zip(old[i:j], new[k:m], strict=True):
                hand(a.at, b.at)
    # The end tokens and the padding: what has no room goes to the last position.
    shift = end_of(target) - end_of(source)
    for position in range(end_of(source), len(source)):
        to = min(position + shift, len(target) - 1)
        mapper[position, to] += 1
    serves[min(end_of(target), len(target) - 1) :] = 1
    return mapper, serves
