"""``python -m noisespace.cli``: the same as ``noisespace``."""

from noisespace.cli import main

main()
