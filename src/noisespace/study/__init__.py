"""Studies of the noise space: what inversions do to noise maps, measured and drawn.

``study.load(name)(model, Budget())`` gives a ``Finding``; ``noisespace study NAME`` saves it. Only
names are here: a study's module is imported when it is asked for.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from noisespace.errors import InputError

if TYPE_CHECKING:
    from noisespace.study.budget import Budget
    from noisespace.study.finding import Finding

    Study = Callable[[Any, Budget], Finding]

# name on the command line -> what it asks; its module has the name, with an underscore for a dash
STUDIES: dict[str, str] = {
    "gaussian": "Where do noise maps point in two dimensions, where the score is exact?",
    "statistics": "How large are noise maps, and how do successive ones agree?",
    "operations": "What survives when noise maps are translated or painted?",
    "fixed-maps": "What does another prompt do to a picture whose noise maps are kept?",
    "reconstruction": "How well does each inversion give the picture back?",
    "null-text": "How fast does null-text inversion converge, and what does it need for it?",
    "skip-guidance": "What do skip and guidance trade against each other?",
    "diversity": "How much do edits of one picture differ from seed to seed?",
    "trade-off": "What structure does each method pay for reaching the target?",
    "editors": "What do edit-friendly codes bring inside other editors?",
    "coupled": "Are coupled inversions exact, and what do they cost?",
    "masks": "What does DiffEdit's mask find and protect, and when does it fail?",
    "times": "How long does an edit take by each method?",
    "premises": "Does what negative-prompt inversion takes for granted hold?",
    "captions": "What does the source caption have to name?",
}


WITHOUT_MODEL = ("gaussian",)  # their data and score are formulas
WITHOUT_TEXT = (*WITHOUT_MODEL, "statistics")


def known(name: str) -> str:
    """The name itself. Raises InputError, with the nearest one, for a study that there is not."""
    if name in STUDIES:
        return name
    near = difflib.get_close_matches(name, STUDIES, 1)
    hint = f"did you mean {near[0]}?" if near else f"they are {', '.join(STUDIES)}"
    raise InputError(f"there is no study {name!r}: {hint}")


def load(name: str) -> Study:
    """The study of that name, ``(model, budget) -> Finding``. Raises InputError for another."""
    module = known(name).replace("-", "_")
    return importlib.import_module(f"noisespace.study.{module}").study
