"""``python -m noisespace.train scenes --out runs/scenes``: the same as ``noisespace train``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from noisespace.errors import InputError, RunError
from noisespace.train.finish import finish, publish
from noisespace.train.run import load_run, run


def main(argv: list[str] | None = None) -> int:
    """Trains, or with --snapshot publishes the last checkpoint; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m noisespace.train", description=__doc__)
    parser.add_argument("config", help='"scenes" or a JSON file of settings')
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--autoencoder-steps", type=int)
    parser.add_argument("--steps", type=int, help="steps of the U-Net")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--model", type=Path, help="folder of the model (default: OUT/model)")
    parser.add_argument("--snapshot", action="store_true", help="only write the model as it is")
    given = parser.parse_args(argv)
    model = given.model or given.out / "model"
    try:
        if given.snapshot:
            publish(load_run(given.out), model)
            return 0
        trained = run(
            given.config,
            given.out,
            given.resume,
            seed=given.seed,
            autoencoder__steps=given.autoencoder_steps,
            diffusion__steps=given.steps,
        )
        report = finish(trained, given.out, model)
    except (InputError, RunError) as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, InputError) else 1
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
