"""What a job does: its settings, and its rows in groups that the manifest alone decides.

A network's rounding depends on how many images run together. So groups are made once, of all rows,
sorted by id: never of what remains after a stop, of the order in the manifest or of who is free.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from noisespace.batch.manifest import Row, lent
from noisespace.models.loading import load
from noisespace.models.speed import Speed

PAINTED = "painted"  # the mask of a choice whose rows have pictures of their own


@dataclass(frozen=True)
class Choice:
    """How a row is edited: what images must share to run together. Specs as on the command line.

    ``mask``: "", PAINTED, or what finds one; ``targets``: how many edits an image has.
    """

    method: str = "edit-friendly"
    editor: str | None = None
    guidance: float | None = None
    source_guidance: float | None = None
    steps: int | None = None
    size: str | None = None
    mask: str = ""
    targets: int = 1


@dataclass(frozen=True)
class Settings:
    """What a job's results depend on besides its manifest.

    ``speed``: how the model is loaded; ``added``: what is added to it and how it reads prompts, as
    further options of ``load``; ``choice``: for rows that say nothing else; ``batch``:
    images that run together; ``codes``: whether codes are kept; ``metrics``: names of the
    benchmark's metrics to take.
    """

    model: str = "scenes"
    speed: Speed = field(default_factory=Speed)
    added: Mapping[str, Any] = field(default_factory=dict)
    choice: Choice = Choice()
    seed: int = 0
    batch: int = 8
    codes: bool = False
    metrics: tuple[str, ...] = ()

    def load(self, device: str) -> Any:
        """The model on a device."""
        return load(self.model, device=device, **asdict(self.speed), **self.added)


@dataclass(frozen=True)
class Item:
    """A row that is ready to run; ``seed``: its own, or by the job's seed and its id."""

    id: str
    line: int
    image: str
    source: str
    targets: tuple[str, ...]
    mask: str | None
    seed: int


@dataclass(frozen=True)
class Group:
    """Images that run together, always in this order. ``index``: its place in the plan."""

    index: int
    choice: Choice
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Plan:
    """A manifest that was checked, in groups."""

    name: str
    rows: int
    groups: Sequence[Group]

    def places(self) -> set[str]:
        items = [item for group in self.groups for item in group.items]
        masks = {item.mask for item in items if item.mask}
        return {item.image for item in items} | masks


def row_seed(seed: int, name: str) -> int:
    """The seed of a row under a job's: the same whatever runs beside it, and wherever."""
    found = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return int.from_bytes(found[:4], "big")


def choice_of(row: Row, default: Choice) -> Choice:
    """How a row is edited: by its own fields, else by the job's."""
    names = ("method", "editor", "guidance", "source_guidance", "steps", "size")
    own = {name: value for name in names if (value := getattr(row, name)) is not None}
    mask = "" if row.mask is None else row.mask if lent(row.mask) else PAINTED
    return replace(default, **own, mask=mask, targets=len(row.target))


def item_of(line: int, row: Row, seed: int) -> Item:
    own = row_seed(seed, row.id) if row.seed is None else row.seed
    return Item(row.id, line, row.image, row.source, row.target, row.mask, own)


def groups_of(rows: Iterable[tuple[int, Row]], settings: Settings) -> list[Group]:
    """The groups of a manifest: rows of one choice, by id, ``settings.batch`` at a time."""
    shared: dict[Choice, list[Item]] = {}
    for line, row in rows:
        choice = choice_of(row, settings.choice)
        shared.setdefault(choice, []).append(item_of(line, row, settings.seed))
    groups: list[Group] = []
    for choice in sorted(shared, key=words):
        items = sorted(shared[choice], key=lambda item: item.id)
        for start in range(0, len(items), settings.batch):
            some = tuple(items[start : start + settings.batch])
            groups.append(Group(len(groups), choice, some))
    return groups


def words(value: Any) -> str:
    """A dataclass as JSON that is the same for the same values."""
    return json.dumps(asdict(value), sort_keys=True)


def digest(groups: Sequence[Group]) -> str:
    """What the rows say, without the order that they came in."""
    found = hashlib.sha256()
    for group in groups:
        items = tuple(replace(item, line=0) for item in group.items)
        found.update(words(replace(group, items=items)).encode())
    return found.hexdigest()
