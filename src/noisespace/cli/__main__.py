"""``python -m noisespace.cli COMMAND``: the command line for launchers of processes."""

from noisespace.cli import main

if __name__ == "__main__":
    main()
