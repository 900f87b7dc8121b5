"""What a report is to hold, and where it is in its work."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from noisespace.report.claims import CLAIMS
from noisespace.system.files import write_json

IMAGES, QUICK_IMAGES = 20, 3  # of the benchmark


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


class Seconds:
    """The seconds of a task over all runs, in a file: what a process had done when it was killed
    counts too."""

    def __init__(self, path: Path) -> None:
        self._path, self._last = path, perf_counter()
        self.spent = float(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else 0.0

    def tick(self) -> None:
        """Adds the time since the last tick."""
        now = perf_counter()
        self.spent, self._last = round(self.spent + now - self._last, 2), now
        write_json(self._path, self.spent, force=True)
