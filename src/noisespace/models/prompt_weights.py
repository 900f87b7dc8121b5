"""Prompts with weights written in them, "a (red:1.3) cat", as Forge and ComfyUI read them."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping

from noisespace.errors import InputError

Piece = tuple[str, float]  # a text without marks, and its weight
MOST = 20.0  # of a weight: an embedding so far out is no prompt's
ROUND, SQUARE = 1.1, 1 / 1.1  # what a pair of brackets without a number multiplies by
NUMBER = re.compile(r":\s*([+-]?[.\d]+)\s*$")
# What else is written in a prompt there, and would be read as words here.
FOREIGN = {
    "forge": {
        r"\bBREAK\b": "begins a new chunk of tokens",
        r"\bAND\b": "composes several prompts",
        r"<(?:lora|lyco|hypernet):[^<>]*>": "adds a network (LoRAs are given by lora)",
        r"(?<!\\)\[[^\[\]]*:\s*[.\d]+\s*\]|(?<!\\)\[[^\[\]|]*\|[^\[\]]*\]": "changes by the step",
    },
    "comfyui": {r"\bembedding:\S+": "adds an embedding (embedding gives it, <its name> calls it)"},
}


def parse(prompt: str, weights: str | None) -> list[Piece]:
    """A prompt's texts without marks, in order, each with its weight.

    ``weights``: who reads it, "forge" (as Stable Diffusion WebUI does) or "comfyui"; None: nobody,
    brackets are text. What looks like a mark and is read otherwise warns.

    Raises InputError for numbers that are none or beyond 20, parentheses that ComfyUI would
    misread, and what one of the two reads in prompts and this library does not.
    """
    if weights is None:
        return [(prompt, 1.0)]
    if weights not in READERS:
        raise InputError(f"weights must be {' or '.join(READERS)}, got {weights!r}")
    for pattern, what in FOREIGN[weights].items():
        if found := re.search(pattern, prompt):
            raise InputError(
                f"the prompt {short(prompt)} has {found[0]!r}, which {what} in {weights}, and is "
                "not supported in a prompt here: take it out"
            )
    pieces = [(text, weight) for text, weight in READERS[weights](prompt) if text]
    for text, weight in pieces:
        if not abs(weight) <= MOST:
            raise InputError(
                f"the prompt {short(prompt)} gives {text.strip()!r} the weight {weight:g}; "
                f"expected a number from {-MOST:g} to {MOST:g}"
            )
    return pieces or [("", 1.0)]


def forge(prompt: str) -> list[Piece]:
    """As Forge: every pair of brackets multiplies all it holds; equal neighbours are one text.

    A backslash takes the meaning from a bracket or a backslash; before anything else it is dropped.
    """
    out: list[Piece] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}  # where each begins, the innermost last

    def weigh(bracket: str, factor: float) -> None:
        start = opened[bracket].pop()
        out[start:] = [(text, weight * factor) for text, weight in out[start:]]

    for part in re.split(r"(\\[()\[\]\\]?|[()\[\]])", prompt):  # texts and marks in turn
        if part in opened:
            opened[part].append(len(out))
        elif part == ")" and opened["("]:
            text, _ = out.pop()  # what stands right before it
            number = NUMBER.search(text)
            if number is None:
                warn_of_colon(prompt, text)
            out.append((text if number is None else text[: number.start()], 1.0))
            weigh("(", ROUND if number is None else finite(number[1], prompt))
        elif part == "]" and opened["["]:
            weigh("[", SQUARE)
        else:
            if part in (")", "]"):
                note(prompt, f"has a {part!r} that closes nothing: it is text, as in Forge")
            out.append((part[1:] if part.startswith("\\") else part, 1.0))
    for bracket, factor in (("(", ROUND), ("[", SQUARE)):
        while opened[bracket]:
            note(prompt, f"never closes a {bracket!r}: it weighs all that follows, as in Forge")
            weigh(bracket, factor)
    merged: list[Piece] = []
    for text, weight in out:
        if merged and merged[-1][1] == weight:
            merged[-1] = (merged[-1][0] + text, weight)
        elif text:
            merged.append((text, weight))
    return merged


def comfyui(prompt: str) -> list[Piece]:
    """As ComfyUI: parentheses multiply by 1.1; a number in them replaces all the weight around.

    Square brackets are text; a backslash takes the meaning from a parenthesis alone.
    """
    parts = re.split(r"(\\[()]|[()])", prompt)  # texts and marks in turn
    numbers: dict[int, float | None] = {}  # by where its parenthesis opens
    opened: list[int] = []
    for k, part in enumerate(parts):
        if part == "(":
            opened.append(k)
        elif part == ")":
            if not opened:
                raise unbalanced(prompt, part)
            start = opened.pop()
            rest, colon, after = parts[k - 1].rpartition(":")
            if not colon or (not rest and k - 1 == start + 1):  # a number of nothing is text
                numbers[start] = None
                continue
            try:
                float(after)
            except ValueError:
                warn_of_colon(prompt, parts[k - 1])
                numbers[start] = None
            else:
                numbers[start], parts[k - 1] = finite(after, prompt), rest
    if opened:
        raise unbalanced(prompt, "(")
    out, weights = [("", 1.0)], [1.0]
    for k, part in enumerate(parts):
        if part == "(":
            number = numbers[k]
            weights.append(weights[-1] * ROUND if number is None else number)
        elif part == ")":
            weights.pop()
        if part in ("(", ")"):
            out.append(("", weights[-1]))
        else:
            out[-1] = (out[-1][0] + (part[1:] if part in ("\\(", "\\)") else part), weights[-1])
    return out


READERS: Mapping[str, Callable[[str], list[Piece]]] = {"forge": forge, "comfyui": comfyui}


def finite(text: str, prompt: str) -> float:
    """A weight as it is written. Raises InputError for what is no finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(
            f"the prompt {short(prompt)} has the weight {text.strip()!r}; expected a finite number "
            "such as 1.2"
        )
    return value


def unbalanced(prompt: str, bracket: str) -> InputError:
    return InputError(
        f"the prompt {short(prompt)} has a {bracket!r} without its partner, which ComfyUI reads in "
        f"odd ways: write \\{bracket} where it is text"
    )


def warn_of_colon(prompt: str, text: str) -> None:
    """Of "(cat:abc)", which both read as the text "cat:abc"."""
    _, colon, after = text.rpartition(":")
    if colon:
        note(prompt, f"has {colon + after!r} in parentheses, which is no weight but text")


def note(prompt: str, what: str) -> None:
    warnings.warn(f"the prompt {short(prompt)} {what}", stacklevel=2)


def short(prompt: str) -> str:
    return repr(prompt if len(prompt) <= 60 else f"{prompt[:60]}...")
