"""``python -m noisespace.train``: the same as ``noisespace train``, for launchers of processes."""

from __future__ import annotations

import sys

from noisespace.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["train"]
    main()
