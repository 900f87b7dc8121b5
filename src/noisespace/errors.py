"""The two ways in which a job fails, each said in one sentence."""


class InputError(ValueError):
    """What was given cannot be done (exit code 2): got, expected, what to do."""


class RunError(RuntimeError):
    """A failure while running (exit code 1)."""
