"""What the networks of a stage can be: checked with the settings, hours before they are built."""

from __future__ import annotations

from collections.abc import Sequence

TEXT_HEADS = 4  # of every text encoder


def check_channels(channels: Sequence[int], multiple: int = 1) -> None:
    """ValueError unless there are some, all above 0 and multiples of what normalises them."""
    if not channels or any(c <= 0 or c % multiple for c in channels):
        raise ValueError(f"channels must be multiples of {multiple}, at least one")


def check_lengths(channels: Sequence[int], **others: Sequence) -> None:
    """ValueError unless there is one entry for each of the channels."""
    for name, values in others.items():
        if len(values) != len(channels):
            raise ValueError(f"{name} must have {len(channels)} entries, one for each of channels")


def check_heads(channels: Sequence[int], heads: Sequence[int]) -> None:
    """ValueError unless each number of heads divides its channels."""
    if any(h <= 0 or c % h for c, h in zip(channels, heads, strict=True)):
        raise ValueError("heads must divide channels, entry by entry")


def check_text(hidden: int) -> None:
    """ValueError unless the text encoder's width can be split among its heads."""
    if hidden <= 0 or hidden % TEXT_HEADS:
        raise ValueError(f"text_hidden must be a multiple of {TEXT_HEADS}")
