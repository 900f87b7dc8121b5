"""What a person did in this session: one entry an edit, and a way back."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

T = TypeVar("T")
LONGEST = 30  # entries kept; an entry holds its pictures, a code is the engine's


@dataclass(frozen=True)
class History(Generic[T]):
    """Entries, oldest first, and which one is shown; undo and redo move between them.

    A new entry after an undo takes the place of what was undone.
    """

    entries: tuple[T, ...] = ()
    at: int = -1
    longest: int = field(default=LONGEST, repr=False)

    @property
    def current(self) -> T | None:
        return self.entries[self.at] if self.entries else None

    def add(self, entry: T) -> History[T]:
        kept = (*self.entries[: self.at + 1], entry)[-self.longest :]
        return replace(self, entries=kept, at=len(kept) - 1)

    def undo(self) -> History[T]:
        return replace(self, at=max(self.at - 1, min(0, self.at)))

    def redo(self) -> History[T]:
        return replace(self, at=min(self.at + 1, len(self.entries) - 1))

    def go(self, index: int) -> History[T]:
        """To an entry; one that is not there leaves all as it is."""
        return replace(self, at=index) if 0 <= index < len(self.entries) else self

    def change(self, entry: T) -> History[T]:
        """Another entry in place of the current one."""
        kept = list(self.entries)
        kept[self.at] = entry
        return replace(self, entries=tuple(kept))
