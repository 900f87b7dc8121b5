"""``python -m noisespace COMMAND``: the command line."""

from noisespace.cli import main

if __name__ == "__main__":
    main()
