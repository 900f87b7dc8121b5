"""The two ways in which a job fails, each said in one sentence."""


class InputError(ValueError):
    """What was given cannot be done (exit code 2): got, expected, what to do."""


class RunError(RuntimeError):
    """A failure while running (exit code 1)."""


def reason(error: BaseException) -> str:
    """Why something failed, in one line; other errors than ours with the name of their kind."""
    text = " ".join(str(error).split())[:600]
    if isinstance(error, (InputError, RunError)):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
