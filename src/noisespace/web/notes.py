"""What the library warns of in a job, as notes of its outcome."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

from noisespace.web.desk import Desk
from noisespace.web.results import Outcome
from noisespace.web.work import work


def noted(desk: Desk, request: Any, alone: Any) -> Outcome:
    """``work``, with the library's own warnings as the outcome's notes.

    ``alone``: a lock held whenever the process's filters of warnings are set or set back, so that
    whoever else does so for a moment is nested inside, never across.
    """
    caught = warnings.catch_warnings(record=True)
    with alone:
        said = caught.__enter__()
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=UserWarning)
    try:
        outcome = work(desk, request)
    finally:
        with alone:
            caught.__exit__(None, None, None)
    texts = [" ".join(str(w.message).split()) for w in said or () if w.category is UserWarning]
    return replace(outcome, notes=tuple(dict.fromkeys(texts)))
