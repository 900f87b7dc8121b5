"""What a batch job is: the settings that rows fall back on, and the groups that run together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from noisespace.batch.manifest import Item

DEFAULT = "edit-friendly"


@dataclass(frozen=True)
class Job:
    """Settings of a whole job; a row's own go first.

    ``model``, ``dtype``, ``device``: as ``noisespace.load`` takes them; ``size``: the working size;
    ``seed``: with a row's id it gives the row's seed; ``batch``: rows that run together; ``codes``:
    whether every image's code is kept; ``threads``: of every worker, whatever their number, since
    sums round differently over other threads.
    """

    model: str = "scenes"
    dtype: str = "float32"
    device: str = "auto"
    method: str = DEFAULT
    editor: str = ""
    steps: int | None = None
    guidance: float | None = None
    source_guidance: float | None = None
    size: int | tuple[int, int] | None = None
    seed: int = 0
    batch: int = 8
    codes: bool = False
    threads: int = 1

    def about(self) -> dict[str, Any]:
        """What rows depend on: the device is none of it, bar rounding."""
        return {name: value for name, value in asdict(self).items() if name != "device"}


@dataclass(frozen=True)
class Setting:
    """How an image is inverted and edited: rows of one setting can run in one batch."""

    method: str
    editor: str
    mask: str  # what finds one; "*" for rows that have painted ones
    steps: int | None
    guidance: float | None
    source_guidance: float | None
    targets: int


@dataclass(frozen=True)
class Group:
    """Rows that run together. Which they are follows from the manifest alone."""

    number: int
    setting: Setting
    items: tuple[Item, ...]

    @property
    def name(self) -> str:
        return f"group-{self.number:07d}"


def setting_of(item: Item, job: Job) -> Setting:
    """A row's settings, the job's where it has none."""
    return Setting(
        item.method or job.method,
        item.editor or job.editor,
        "*" if item.painted else item.mask,
        job.steps if item.steps is None else item.steps,
        job.guidance if item.guidance is None else item.guidance,
        job.source_guidance if item.source_guidance is None else item.source_guidance,
        len(item.target),
    )


def groups_of(items: Sequence[Item], job: Job) -> list[Group]:
    """The rows of each setting in their order, ``job.batch`` at a time.

    Never from what is left to do: so a job that goes on has the same groups, the same batches and
    therefore the same pictures, bit for bit, as one that was never stopped.
    """
    waiting: dict[Setting, list[Item]] = {}
    groups: list[Group] = []

    def full(setting: Setting, some: list[Item]) -> None:
        groups.append(Group(len(groups) + 1, setting, tuple(some)))

    for item in items:
        setting = setting_of(item, job)
        some = waiting.setdefault(setting, [])
        some.append(item)
        if len(some) == job.batch:
            full(setting, waiting.pop(setting))
    for setting, some in waiting.items():
        full(setting, some)
    return groups
