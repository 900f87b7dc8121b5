"""Says "first step" when a command line's first step is done; benchmarks/bench.py holds the clock.

    python benchmarks/first_step.py noisespace edit photo.png ...
    python benchmarks/first_step.py diffusers

The second is the usual script: the embedded model's folder as a StableDiffusionPipeline, one step.
"""

from __future__ import annotations

import sys
from typing import Any


def noisespace() -> None:
    """The command line as it is, its progress heard."""
    from noisespace.cli import main, outcome

    shown = outcome.Shown.__call__

    def heard(self: Any, done: int, total: int) -> None:
        shown(self, done, total)
        print("first step", flush=True)

    outcome.Shown.__call__ = heard  # type: ignore[method-assign]
    sys.argv = sys.argv[1:]
    main()


def diffusers() -> None:
    """A pipeline from the folder, and one step of it."""
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec("noisespace.models")  # found, not run: no more is imported than a script would
    assert spec is not None and spec.origin is not None
    from diffusers import StableDiffusionPipeline

    folder = Path(spec.origin).parent / "scenes"
    pipe = StableDiffusionPipeline.from_pretrained(str(folder), safety_checker=None)
    pipe.set_progress_bar_config(disable=True)

    def told(pipe: Any, step: int, t: Any, kept: Any) -> Any:
        print("first step", flush=True)
        return kept

    pipe("a plain red circle", num_inference_steps=1, callback_on_step_end=told)


if __name__ == "__main__":
    {"noisespace": noisespace, "diffusers": diffusers}[sys.argv[1]]()
