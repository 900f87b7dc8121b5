"""Which token of one prompt answers to which of another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from itertools import pairwise
from typing import Literal
from unicodedata import normalize

import torch
from torch import Tensor

from noisespace.core.condition import END, PADDING, START, T5_END, WORD_END
from noisespace.errors import InputError

Mode = Literal["auto", "replace", "refine"]


@dataclass(frozen=True)
class Word:
    """A word of a prompt as the tokenizer has it, and the positions of its tokens."""

    text: str
    at: tuple[int, ...]


def words_of(tokens: Sequence[str]) -> list[Word]:
    """The words of a prompt, in order; what several text encoders read is one word.

    (The first "cat" of one is the first "cat" of another. A word that one of them alone has, since
    they part words otherwise, comes after those of the first.)
    """
    found: dict[tuple[str, int], Word] = {}
    for span in spans_of(tokens):
        seen = Counter[str]()
        for word in words_in(tokens, span):
            key = word.text, seen[word.text]
            seen[word.text] += 1
            at = found[key].at if key in found else ()
            found[key] = Word(word.text, at + word.at)
    return list(found.values())


def spans_of(tokens: Sequence[str]) -> list[range]:
    """The positions of each text encoder's tokens: one is CLIP's, whose end tokens it ends with."""
    after = [i for i in range(1, len(tokens)) if tokens[i - 1] == END != tokens[i]]
    return [range(i, k) for i, k in pairwise([0, *after, len(tokens)])]


def words_in(tokens: Sequence[str], span: range) -> list[Word]:
    """The words between the special tokens of one encoder."""
    words: list[Word] = []
    text, at = "", []
    for position in span[: end_of(tokens, span) - span.start]:
        token = tokens[position]
        if token == START:
            continue
        text += token.removesuffix(WORD_END)
        at.append(position)
        if token.endswith(WORD_END):
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


def end_of(tokens: Sequence[str], span: range) -> int:
    """The position of an encoder's end token (past its last where the prompt fills them all)."""
    return next((i for i in span if tokens[i] in (END, T5_END, PADDING)), span.stop)


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
    mapper, serves = torch.zeros(len(source), len(target)), torch.zeros(len(target))
    for span in spans_of(source):
        align_span(source, target, span, mode, mapper, serves)
    return mapper, serves


def align_span(
    source: Sequence[str],
    target: Sequence[str],
    span: range,
    mode: Mode,
    mapper: Tensor,
    serves: Tensor,
) -> None:
    """Writes one encoder's part of the mapper, and which of its target tokens it serves."""
    old, new = words_in(source, span), words_in(target, span)
    if mode == "replace" and len(old) != len(new):
        raise InputError(
            f"mode replace swaps words one by one, but the prompts have {len(old)} and {len(new)} "
            'words: use mode "auto" or "refine", or prompts of the same number of words'
        )

    def hand(from_: Sequence[int], to: Sequence[int]) -> None:
        serves[list(to)] = 1
        if len(from_) == len(to):
            mapper[list(from_), list(to)] = 1
        else:
            mapper[torch.tensor(from_)[:, None], torch.tensor(to)] = 1 / len(to)

    if source[span.start] == target[span.start] == START:
        hand([span.start], [span.start])
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
    last, end = span.stop - 1, end_of(source, span)
    shift = end_of(target, span) - end
    for position in range(end, span.stop):
        mapper[position, min(position + shift, last)] += 1
    serves[min(end + shift, last) : span.stop] = 1
