"""How a state goes from one level to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noisespace.system.listing import Listing, lazily

if TYPE_CHECKING:
    from noisespace.core.steps.step import Noise as Noise
    from noisespace.core.steps.step import Predict as Predict
    from noisespace.core.steps.step import State as State
    from noisespace.core.steps.step import Step as Step
    from noisespace.core.steps.step import Undoable as Undoable

# The list: a new step is one file, and one line here; a saved code names it by its file
if TYPE_CHECKING:
    from noisespace.core.steps.ancestral import Ancestral as Ancestral
    from noisespace.core.steps.belm import Belm as Belm
    from noisespace.core.steps.consistency import Consistency as Consistency
    from noisespace.core.steps.edict import Edict as Edict

STEPS = Listing(__name__, "STEPS")
__getattr__, __dir__, __all__ = lazily(__name__)
