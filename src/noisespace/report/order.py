"""What a report is to hold, and where it is in its work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from noisespace.files import write_json
from noisespace.report.claims import CLAIMS

IMAGES, QUICK_IMAGES = 30, 3  # of the benchmark


@dataclass(frozen=True)
class Order:
    """``claims``: which; ``images``: pictures of each study and of the benchmark (None: their own
    numbers); ``quick``: small versions of all; ``model``: as the user named it.
    """

    claims: tuple[str, ...] = tuple(CLAIMS)
    quick: bool = False
    images: int | None = None
    seed: int = 0
    model: str = "scenes"

    @property
    def cases(self) -> int:
        """How many pictures the benchmark has."""
        return self.images or (QUICK_IMAGES if self.quick else IMAGES)

    @property
    def whole(self) -> bool:
        """Whether all claims are asked for, and with them the benchmark."""
        return len(self.claims) == len(CLAIMS)

    def command(self, out: str = "DIR") -> str:
        """The command line that makes this report again."""
        words = ["noisespace report", "--quick" if self.quick else ""]
        words += ["" if self.whole else f"--claims {','.join(self.claims)}"]
        words += [f"--images {self.images}" if self.images else ""]
        words += [f"--seed {self.seed}" if self.seed else ""]
        words += [f"--model {self.model}" if self.model != "scenes" else "", f"--out {out}"]
        return " ".join(word for word in words if word)


@dataclass
class Seconds:
    """Seconds by task over all runs of a report, kept in a file."""

    path: Path
    spent: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path.exists():
            self.spent = json.loads(self.path.read_text(encoding="utf-8"))

    @contextmanager
    def on(self, task: str) -> Iterator[None]:
        """Adds the time that passes inside, however it ends."""
        start = perf_counter()
        try:
            yield
        finally:
            self.add(task, perf_counter() - start)

    def add(self, task: str, seconds: float) -> None:
        """Adds seconds to a task's."""
        self.spent[task] = round(self.spent.get(task, 0.0) + seconds, 2)
        write_json(self.path, self.spent, force=True)
